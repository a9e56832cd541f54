"""A job that goes before it was adopted leaves placements where its tasks may run, and only there."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from rules_made import agent, job_config

from scheduling.desired import AGENT, PLACEMENT, Agent, Copy, Desired, Placement
from scheduling.job import task_id
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import PutJob
from scheduling.registry import Mutation, RestoreSnapshot, WritePlacement, judge
from scheduling.replica import Changes

WEB = job_config("web", scale=2)
TASKS = [task_id(WEB.hash(), index) for index in range(2)]


class NotWalked(dict[str, Agent]):
    """Agents that may be looked up, one by one."""

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("walked over all agents")

    items = values = __iter__  # type: ignore[assignment]  # whoever calls them is to fail


class Book:
    """A desired state with three agents, one of them lost, that mutations are judged against."""

    def __init__(self, *, adopt: bool = True) -> None:
        self.desired = Desired()
        self.version = 1
        agents: Changes = {(AGENT, name): agent(name) for name in "ba"}
        self.desired.apply({**agents, (AGENT, "c"): agent("c", lost_since=5.0)})
        self.ask(ScheduleJob(config=WEB, adopt=adopt))

    def ask(self, mutation: Mutation) -> dict[str, Placement | None]:
        """The placements that it writes."""
        answer, changes = judge(self.desired, mutation, self.version + 1)
        assert answer.accepted, answer.message
        self.version = answer.version
        self.desired.apply(changes)
        return {key[1]: value for key, value in changes.items() if key[0] == PLACEMENT}

    def stopping(self, *tasks: str) -> dict[str, Placement | None]:
        """Stopped wherever they may be: on all agents that are not lost."""
        copies = (Copy("a", "stop"), Copy("b", "stop"))
        return {task: Placement(task=task, generation=self.version, copies=copies) for task in tasks}


ENDS: list[Mutation] = [
    UnscheduleJob(hash=WEB.hash()),
    DeleteJob(key=WEB.key),
    HaltJob(key=WEB.key, stopped=True),
    RestoreSnapshot(jobs=(), agents=()),
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_a_job_that_goes_before_it_was_adopted_is_stopped_wherever_it_may_run(end: Mutation) -> None:
    book = Book()
    assert book.ask(end) == book.stopping(*TASKS)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: type(end).__name__)
def test_a_job_that_never_ran_elsewhere_leaves_nothing(end: Mutation) -> None:
    assert Book(adopt=False).ask(end) == {}


def test_tasks_that_have_a_placement_keep_it() -> None:
    book = Book()
    book.ask(WritePlacement(task=TASKS[0], expected=0, copies=(Copy("a", "run"),)))
    assert book.ask(ENDS[0]) == book.stopping(TASKS[1])
    row = book.desired.placements[TASKS[0]]
    assert row.running == "a", "the scheduler stops it, as always"


def test_of_a_job_that_is_rescaled_only_the_tasks_that_go_are_stopped() -> None:
    book = Book()
    smaller = PutJob(config=msgspec.structs.replace(WEB, scale=1))
    assert book.ask(smaller) == book.stopping(TASKS[1])
    larger = PutJob(config=msgspec.structs.replace(WEB, scale=3))
    assert book.ask(larger) == {}


def test_a_job_that_was_stopped_is_not_stopped_again() -> None:
    book = Book()
    book.ask(HaltJob(key=WEB.key, stopped=True))
    for task in TASKS:
        book.ask(WritePlacement(task=task, expected=book.version if task == TASKS[0] else 3, copies=()))
    assert book.ask(DeleteJob(key=WEB.key)) == {}


def test_without_agents_there_is_nothing_to_write() -> None:
    book = Book()
    book.desired.apply({(AGENT, name): None for name in "abc"})
    assert book.ask(ENDS[0]) == {}


def test_to_place_a_task_nobody_looks_at_all_agents() -> None:
    # With 1,000 agents that look was 18 times the rest of what a write takes.
    book = Book()
    book.desired.agents = NotWalked(book.desired.agents)
    copies = (Copy("a", "run"),)
    placed = book.ask(WritePlacement(task=TASKS[0], expected=0, copies=copies))
    assert placed == {TASKS[0]: Placement(task=TASKS[0], generation=book.version, copies=copies)}
