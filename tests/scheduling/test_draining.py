"""What an operator may do to agents: each refusal, what is idempotent, and what a drain is at what time."""

from __future__ import annotations

from typing import Any

import pytest
from book import A, Book
from msgspec.structs import replace
from rules_made import agent, job_config

from config.bounds import MOST_NAMED
from scheduling.desired import AGENT, Copy, Drain
from scheduling.draining import AddAgent, DrainAgent, RemoveAgent, UndrainAgent
from scheduling.jobs import HaltJob, ScheduleJob
from scheduling.migrating import PutJob
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement
from scheduling.replica import Changes
from scheduling.update import Update

SOLID = Update(floor=2, surge=0)
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


def test_what_could_keep_a_floor_only_by_never_ending_does_not_begin() -> None:
    made = book()
    made.accepts(PutJob(config=replace(A, update=SOLID)))
    text = (
        f"a can't be emptied with each job's floor kept: {A.key} has scale 2, floor 2 and no surge. Lower "
        f"update.floor; or allow an update.surge, drain, and restart the job; or stop it; or drain with a "
        f"deadline of 0s, which moves all at once, whatever the floors"
    )
    made.refuses(DrainAgent(agent="a"), "conflict", text)
    made.refuses(DrainAgent(agent="a", seconds=600.0), "conflict", text)
    assert not made.desired.agents["a"].drained
    made.accepts(DrainAgent(agent="a", empty=False), "changed")
    made.refuses(DrainAgent(agent="a"), "conflict", text)
    made.accepts(DrainAgent(agent="a", seconds=0.0), "changed")


@pytest.mark.parametrize(
    "update",
    [
        Update(floor=1, surge=0),
        Update(floor=2),
        Update(floor=2, surge=1),
        Update(strategy="blue_green", floor=2),
        Update(surge=0),
        Update(strategy="in_place"),
    ],
    ids=repr,
)
def test_where_tasks_can_move_by_the_drain_or_a_restart_it_begins(update: Update) -> None:
    made = book()
    made.accepts(PutJob(config=replace(A, update=update)))
    made.accepts(DrainAgent(agent="a"), "changed")


@pytest.mark.parametrize("update", [Update(strategy="in_place", floor=2), Update(floor=3, surge=0)], ids=repr)
def test_other_ways_to_have_no_task_to_spare_are_refused_too(update: Update) -> None:
    made = book()
    made.accepts(PutJob(config=replace(A, update=update)))
    answer, _ = made.ask(DrainAgent(agent="a"))
    assert (answer.result, "no surge" in answer.message) == ("conflict", True)


def test_only_jobs_that_are_meant_to_run_there_count() -> None:
    made = book()
    made.accepts(PutJob(config=replace(A, update=SOLID)))
    made.accepts(AddAgent(name="c", endpoint="http://c:1"))
    made.accepts(DrainAgent(agent="c"), "changed")
    row = made.desired.placements[f"{A.hash()}-0"]
    moved = (Copy("a", "stop"), Copy("c", "run"))
    made.accepts(WritePlacement(task=row.task, expected=row.generation, copies=moved))
    made.accepts(DrainAgent(agent="a"), "changed")
    assert made.ask(DrainAgent(agent="b"))[0].result == "conflict"
    made.accepts(HaltJob(key=A.key, stopped=True))
    made.accepts(DrainAgent(agent="b"), "changed")


def test_a_job_that_becomes_so_while_it_is_drained_ends_no_drain() -> None:
    made = book()
    made.accepts(DrainAgent(agent="a"), "changed")
    made.accepts(PutJob(config=replace(A, update=SOLID)))
    made.accepts(DrainAgent(agent="a"), "unchanged")
    made.accepts(DrainAgent(agent="a", seconds=600.0), "changed")


def test_of_many_such_jobs_the_first_are_named() -> None:
    made = book()
    for number in range(MOST_NAMED + 2):
        config = job_config(job=f"solid-{number:02}", scale=1, update=Update(floor=1, surge=0))
        made.accepts(ScheduleJob(config=config))
        task = f"{config.hash()}-0"
        made.accepts(WritePlacement(task=task, expected=0, copies=(Copy("a", "run"),)))
    answer, _ = made.ask(DrainAgent(agent="a"))
    assert f"solid-{MOST_NAMED - 1:02} has" in answer.message
    assert f"solid-{MOST_NAMED:02} has" not in answer.message
    assert "; and 2 more jobs. Lower" in answer.message
