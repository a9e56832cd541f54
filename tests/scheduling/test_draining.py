"""What an operator may do to agents: each refusal, what is idempotent, and what a drain is at what time."""

from __future__ import annotations

from typing import Any

import pytest
from book import A, Book
from rules_made import agent

from scheduling.desired import AGENT, Copy, Drain
from scheduling.draining import AddAgent, DrainAgent, RemoveAgent, UndrainAgent
from scheduling.jobs import ScheduleJob
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement
from scheduling.replica import Changes

MISSING = "there is no agent z"


def book(**agents: Any) -> Book:
    """A registry with agent a of a file and agent b that was added, and a task on each."""
    made = Book(
        SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint="http://a:1"),)),
        AddAgent(name="b", endpoint="http://b:1"),
        ScheduleJob(config=A),
    )
    for index, name in enumerate("ab"):
        task = f"{A.hash()}-{index}"
        made.accepts(WritePlacement(task=task, expected=0, copies=(Copy(name, "run"),)))
    for name, changes in agents.items():
        known: Changes = {(AGENT, name): agent(name, **changes)}
        made.desired.apply(known)
        made.written.update(known)
    return made


@pytest.mark.parametrize(
    "mutation", [RemoveAgent(name="z"), DrainAgent(agent="z"), UndrainAgent(agent="z")], ids=repr
)
def test_what_is_not_there_is_not_found(mutation: Mutation) -> None:
    book().refuses(mutation, "not found", MISSING)


def test_an_agent_is_added_once() -> None:
    made = book()
    made.accepts(AddAgent(name="c", endpoint="http://c:1"), "created")
    assert made.desired.agents["c"].sources == ("api",)
    made.accepts(AddAgent(name="c", endpoint="http://c:1"), "unchanged")
    made.accepts(AddAgent(name="c", endpoint="http://c:2", labels={"rack": "1"}), "changed")
    known = made.desired.agents["c"]
    assert (known.endpoint, known.labels) == ("http://c:2", {"rack": "1"})


def test_an_agent_that_comes_from_elsewhere_is_changed_there() -> None:
    made = book()
    made.refuses(AddAgent(name="a", endpoint="http://a:2"), "conflict", "a comes from file; change it there")
    made.refuses(RemoveAgent(name="a"), "conflict", "a comes from file; take it out there")


def test_one_endpoint_is_one_agent() -> None:
    book().refuses(AddAgent(name="c", endpoint="http://a:1"), "conflict", "http://a:1 is a already")


def test_one_that_is_being_removed_can_be_added_again() -> None:
    made = book()
    made.accepts(RemoveAgent(name="b"), "changed")
    made.accepts(AddAgent(name="b", endpoint="http://b:1"), "changed")
    assert made.desired.agents["b"].sources == ("api",)


def test_an_agent_goes_at_once_when_it_is_empty_and_else_with_its_last_task() -> None:
    made = book()
    answer = made.accepts(RemoveAgent(name="b"), "changed")
    assert "it has 1 tasks" in answer.message
    assert made.desired.agents["b"].sources == ()
    made.accepts(RemoveAgent(name="b"), "unchanged")
    row = made.desired.placements[f"{A.hash()}-1"]
    made.accepts(WritePlacement(task=row.task, expected=row.generation, copies=()))
    assert "b" not in made.desired.agents
    made.accepts(AddAgent(name="c", endpoint="http://c:1"))
    made.accepts(RemoveAgent(name="c"), "changed")
    assert "c" not in made.desired.agents


def test_a_drain_begins_now_and_ends_by_its_deadline() -> None:
    made = book()
    made.accepts(DrainAgent(agent="a", seconds=600.0), "changed")
    known = made.desired.agents["a"]
    assert (known.drained, known.drain) == (True, Drain(since=1000.0, deadline_at=1600.0))


def test_a_drain_asked_for_again_began_when_it_began() -> None:
    made = book()
    made.accepts(DrainAgent(agent="a"), "changed")
    made.now += 50.0
    made.accepts(DrainAgent(agent="a"), "unchanged")
    made.accepts(DrainAgent(agent="a", seconds=10.0), "changed")
    assert made.desired.agents["a"].drain == Drain(since=1000.0, deadline_at=1060.0)
    made.accepts(DrainAgent(agent="a"), "changed")
    assert made.desired.agents["a"].drain == Drain(since=1000.0, deadline_at=None)


def test_an_agent_may_be_closed_with_what_it_has() -> None:
    made = book()
    made.accepts(DrainAgent(agent="a", empty=False), "changed")
    assert (made.desired.agents["a"].drained, made.desired.agents["a"].drain) == (True, None)
    made.accepts(DrainAgent(agent="a", empty=False), "unchanged")
    made.accepts(DrainAgent(agent="a"), "changed")
    made.accepts(DrainAgent(agent="a", empty=False), "changed")
    assert made.desired.agents["a"].drain is None, "it keeps what is left"


def test_an_agent_is_opened_again_once() -> None:
    made = book()
    made.accepts(UndrainAgent(agent="a"), "unchanged")
    made.accepts(DrainAgent(agent="a", seconds=5.0))
    made.accepts(UndrainAgent(agent="a"), "changed")
    assert (made.desired.agents["a"].drained, made.desired.agents["a"].drain) == (False, None)


def test_what_its_file_says_again_and_that_it_is_lost_ends_no_drain() -> None:
    made = book(a={"lost_since": 5.0, "endpoint": "http://a:1"})
    made.accepts(DrainAgent(agent="a"))
    specs = (AgentSpec(name="a", endpoint="http://a:1", labels={"rack": "2"}),)
    made.accepts(SyncAgents(source="file", agents=specs))
    known = made.desired.agents["a"]
    assert (known.labels, known.drained, known.lost_since) == ({"rack": "2"}, True, 5.0)
    assert known.drain is not None
