"""A registry that begins anew and gets a snapshot is obeyed by those who have known its predecessor."""

from __future__ import annotations

from random import Random

import pytest
from rules_made import agent, job_config, placement

from scheduling.commands import Command
from scheduling.desired import AGENT, PLACEMENT, Copy, Desired
from scheduling.executor import Executor
from scheduling.job import task_id
from scheduling.jobs import ScheduleJob
from scheduling.leap import LARGEST_VERSION, RESTORE_LEAP, next_version
from scheduling.lifecycle import Input
from scheduling.registry import Mutation, RestoreSnapshot, WritePlacement, judge, version_after
from scheduling.replica import Changes
from scheduling.snapshot import Snapshot, take, version_problems

WEB = job_config("web")
TASK = task_id(WEB.hash(), 0)
# What the lost registry had come to when its snapshot was taken.
TAKEN_AT = 5000


class Book:
    """A new registry with one agent, that mutations are judged for."""

    def __init__(self) -> None:
        self.desired, self.version = Desired(), 0
        self.desired.apply({(AGENT, "a"): agent("a")})

    def ask(self, mutation: Mutation) -> Changes:
        version = version_after(self.version, (mutation,))
        answer, changes = judge(self.desired, mutation, version, self.version)
        assert answer.accepted, answer.message
        self.version = answer.version
        self.desired.apply(changes)
        return changes

    def place(self) -> None:
        self.ask(WritePlacement(task=TASK, expected=0, copies=(Copy("a", "run"),)))


def snapshot(taken_at: int = TAKEN_AT) -> RestoreSnapshot:
    saved = Book()
    saved.ask(ScheduleJob(config=WEB))
    return RestoreSnapshot(jobs=take(saved.desired, taken_at, "").jobs, agents=(), taken_at=taken_at)


def survivor(generation: int, goal: str) -> Executor:
    """An executor that was commanded by the lost registry, later than its snapshot was taken."""
    executor = Executor("a", Random(1))
    executor.command([Command(task=TASK, generation=generation, goal=goal, prefix="p")], {"p": b"x"})  # type: ignore[arg-type]
    return executor


def obeys(executor: Executor, generation: int) -> bool:
    executor.command([Command(task=TASK, generation=generation, goal="run", prefix="p")], {"p": b"x"})
    return [request.step for request in executor.requests(0.0)] == [Input.PUT]


@pytest.mark.parametrize("goal", ["stop", "forget"])
def test_what_is_placed_after_a_restore_is_obeyed_by_who_has_known_later_generations(goal: str) -> None:
    book = Book()
    book.ask(snapshot())
    book.place()
    assert obeys(survivor(TAKEN_AT + 700, goal), book.desired.placements[TASK].generation)


@pytest.mark.parametrize("goal", ["stop", "forget"])
def test_what_was_placed_before_the_restore_gets_a_generation_that_is_obeyed(goal: str) -> None:
    book = Book()
    book.ask(ScheduleJob(config=WEB))
    book.place()
    assert not obeys(survivor(TAKEN_AT + 700, goal), book.desired.placements[TASK].generation)
    changes = book.ask(snapshot())
    row = placement(TASK, ("a", "run"), generation=book.version)
    assert changes == {(PLACEMENT, TASK): row}, "its job is there already, and stays as it is"
    assert obeys(survivor(TAKEN_AT + 700, goal), row.generation)


def test_restoring_it_again_changes_nothing() -> None:
    book = Book()
    book.ask(ScheduleJob(config=WEB))
    book.place()
    book.ask(snapshot())
    version = book.version
    assert book.ask(snapshot()) == {}
    assert book.version == version


def test_a_registry_that_is_further_than_the_snapshot_counts_on() -> None:
    book = Book()
    book.ask(ScheduleJob(config=job_config("db")))
    book.version = TAKEN_AT
    changes = book.ask(snapshot())
    assert book.version == TAKEN_AT + 1
    assert not [key for key in changes if key[0] == PLACEMENT]


def test_the_next_version_is_one_more_or_far_beyond_the_newest_snapshot() -> None:
    assert next_version(7, ()) == 8
    assert next_version(7, (7, 3)) == 8
    assert next_version(7, (8, 3)) == 8 + RESTORE_LEAP


@pytest.mark.parametrize(("version", "right"), [(0, True), (LARGEST_VERSION, True), (-1, False)])
def test_a_version_that_no_registry_can_have_is_a_problem(version: int, right: bool) -> None:
    saved = Snapshot(format=1, version=version, saved_at="", jobs=(), agents=())
    assert (version_problems(saved) == []) is right


def test_a_version_without_room_for_another_leap_is_a_problem() -> None:
    saved = Snapshot(format=1, version=LARGEST_VERSION + 1, saved_at="", jobs=(), agents=())
    assert "version is 4503599627370497; it must be from 0 to" in str(version_problems(saved)[0])
