"""Agents that register themselves: names, addresses, who counts more, and when they leave."""

from __future__ import annotations

import pytest
from rules_made import job_config

from config.bounds import REGISTRATION_SECONDS
from scheduling import registration
from scheduling.answer import Answer
from scheduling.desired import Agent, Copy, Desired
from scheduling.draining import AddAgent, RemoveAgent
from scheduling.jobs import ScheduleJob
from scheduling.presence import MarkLost
from scheduling.registration import DeregisterAgent, RegisterAgent, Renewals, is_registered
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement, judge

HERE, THERE = "http://10.0.0.1:3333", "http://10.0.0.2:3333"
WEB = job_config("web")


class Book:
    """A registry."""

    def __init__(self, *mutations: Mutation) -> None:
        self.desired = Desired()
        self.version = 0
        for mutation in mutations:
            self.ask(mutation)

    def ask(self, mutation: Mutation) -> Answer:
        answer, changes = judge(self.desired, mutation, self.version + 1)
        self.desired.apply(changes)
        self.version = answer.version
        return answer

    def run_a_task(self, name: str = "a") -> None:
        self.ask(ScheduleJob(config=WEB))
        self.ask(WritePlacement(task=f"{WEB.hash()}-0", expected=0, copies=(Copy(name, "run"),)))

    def agent(self, name: str = "a") -> Agent:
        return self.desired.agents[name]


def one(endpoint: str = HERE, identity: str = "x1", name: str = "a", **labels: str) -> RegisterAgent:
    return RegisterAgent(name=name, endpoint=endpoint, labels=labels, identity=identity)


def test_it_is_written_once() -> None:
    book = Book()
    assert book.ask(one(zone="eu")).result == "created"
    assert (book.agent().endpoint, book.agent().labels, book.agent().sources) == (
        HERE, {"zone": "eu"}, ("registered",),
    )  # fmt: skip
    at = book.version
    assert is_registered(book.desired, one(zone="eu"))
    assert (book.ask(one(zone="eu")).result, book.version) == ("unchanged", at)
    assert not is_registered(book.desired, one(zone="us"))
    assert book.ask(one(zone="us")).result == "changed"


def test_what_an_operator_says_counts_more() -> None:
    book = Book(SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint=HERE, labels={"zone": "x"}),)))
    refused = book.ask(one(THERE))
    assert refused.message == f"a comes from file as {HERE}; change it there"
    assert book.ask(one(zone="y")).accepted
    assert (book.agent().labels, book.agent().sources) == ({"zone": "x"}, ("file", "registered"))
    assert is_registered(book.desired, one(zone="y"))
    book.ask(SyncAgents(source="file", agents=()))
    assert book.agent().sources == ("registered",), "it stays by its own word"
    book.ask(one(zone="y"))
    assert book.agent().labels == {"zone": "y"}


def test_one_address_has_one_name() -> None:
    book = Book(AddAgent(name="b", endpoint=HERE))
    assert book.ask(one()).message == f"{HERE} is b already; start the agent with --name b"


def test_with_tasks_only_the_same_one_comes_to_another_address() -> None:
    book = Book(one())
    book.run_a_task()
    refused = book.ask(one(THERE, "x2"))
    assert (refused.result, book.agent().endpoint) == ("conflict", HERE)
    assert refused.message == (
        f"a has 1 tasks at {HERE}, and this is another agent; start it with another --name, or drain a first"
    )
    assert book.ask(one(THERE, "")).result == "conflict"
    assert book.ask(one(THERE)).accepted, "the same data directory: its tasks are there"
    assert book.agent().endpoint == THERE


def test_an_empty_or_lost_one_is_replaced() -> None:
    book = Book(one())
    assert book.ask(one(THERE, "x2")).accepted
    book.run_a_task()
    book.ask(MarkLost(agent="a", since=1.0))
    assert book.ask(one(HERE, "x3")).accepted, "its tasks run elsewhere"


def test_it_leaves_when_it_ends_without_tasks() -> None:
    book = Book(one())
    assert book.ask(DeregisterAgent(name="a", identity="x2")).result == "conflict"
    assert book.ask(DeregisterAgent(name="a", identity="x1")).result == "changed"
    assert book.desired.agents == {}
    assert book.ask(DeregisterAgent(name="a", identity="x1")).result == "unchanged"


def test_with_tasks_it_stays_known() -> None:
    book = Book(one())
    book.run_a_task()
    answer = book.ask(DeregisterAgent(name="a"))
    assert (answer.result, answer.message) == ("unchanged", "a has 1 tasks, and stays known")
    assert book.agent().sources == ("registered",)


def test_who_else_names_it_keeps_it() -> None:
    book = Book(one(), SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint=HERE),)))
    book.run_a_task()
    assert book.ask(DeregisterAgent(name="a")).result == "changed"
    assert (book.agent().sources, book.agent().identity) == (("file",), "")


def test_an_operator_takes_out_only_a_lost_one() -> None:
    book = Book(one())
    refused = book.ask(RemoveAgent(name="a"))
    assert refused.message == "a registers itself; end its agent, or start it without --register"
    book.run_a_task()
    book.ask(MarkLost(agent="a", since=1.0))
    assert book.ask(RemoveAgent(name="a")).result == "changed"
    assert book.agent().sources == ()


def test_there_are_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "MOST_AGENTS", 1)
    book = Book(one())
    assert (
        book.ask(one(THERE, name="b")).message == "there are 1 agents, as many as there may be; remove some"
    )
    assert book.ask(one(THERE, "x2")).accepted


def test_renewals_run_out_and_are_told_once() -> None:
    renewals = Renewals()
    renewals.renew(["a", "b", "nobody"], 0.0)
    assert renewals.overdue(["a", "b", "c"], 1.0) == []
    renewals.renew(["a"], REGISTRATION_SECONDS / 2)
    assert renewals.overdue(["a", "b", "c"], REGISTRATION_SECONDS) == ["b"]
    assert renewals.overdue(["a", "b", "c"], REGISTRATION_SECONDS + 1.0) == ["c"], "since it was first seen"
    assert renewals.overdue(["b"], REGISTRATION_SECONDS * 2) == ["b"], "if it is there still, again"
