"""The pure side of waiting for a migration: what each kind of news makes of it."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
from ctl_shapes_made import HASH, KEY, job, snapshot, task

from ctl.console import QuietConsole
from ctl.goals import AllGone, AllRunning, Goal, Progress
from ctl.goals_migration import MigrationOver
from ctl.progress import LiveDisplay, time_left
from ctl.shapes import Job
from ctl.story import story
from ctl.tables import jobs_table
from ctl.wait import Tracker
from ctl.world import Change
from scheduling.sse import Event

OLD, NEW = "hello-fffffff", HASH
GOAL, BACK = MigrationOver(KEY, "m-9"), MigrationOver(KEY, "m-9", back=True)


def migration(state: str = "running", **fields: Any) -> dict[str, Any]:
    side = {"scale": 2, "wanted": 1, "running": 1}
    return {
        "id": "m-9",
        "job": KEY,
        "state": state,
        "message": f"it is {state}",
        "reason": "it broke",
        "strategy": "rolling",
        "max_parallel": 3,
        "min_healthy_seconds": 5.0,
        "old": {"hash": OLD, "prefix": OLD, **side},
        "new": {"hash": NEW, "prefix": NEW, **side},
        **fields,
    }


def migrating(state: str = "running", **fields: Any) -> dict[str, Any]:
    return {**job(), "migration": migration(state, **fields)}


def progress(goal: Goal, *events: tuple[str, Any]) -> Progress:
    tracker = Tracker(goal)
    for kind, data in events:
        tracker.take(Event("", kind, json.dumps(data).encode()))
    return tracker.progress()


def seen(told: dict[str, Any], *tasks: dict[str, Any], goal: MigrationOver = GOAL) -> Progress:
    return progress(goal, ("snapshot", snapshot(told, *tasks)))


def notes(shown: Progress) -> dict[str, str]:
    return {line.task: f"{line.status}: {line.note}" for line in shown.lines}


def test_each_task_of_both_versions_says_what_it_waits_for() -> None:
    tasks = [task(0), task(0, name=OLD), task(1, name=OLD, intent="stop")]
    shown = seen(migrating(), *tasks)
    assert notes(shown) == {
        f"{NEW}-0": "running: counts once it has run for 5 s",
        f"{NEW}-1": "later: waits for its turn, 3 at a time",
        f"{OLD}-0": "running: is stopped when enough new ones run",
        f"{OLD}-1": "running: is being stopped",
    }
    assert [line.settled for line in shown.lines] == [True, False, False, False]
    assert not shown.reached


@pytest.mark.parametrize(
    ("fields", "later", "left"),
    [
        ({"paused": True}, "until the migration is resumed", "stays until the migration is resumed"),
        ({"awaits_promotion": True}, "until the canaries are promoted", "until the canaries are promoted"),
        ({"strategy": "in_place"}, "until old tasks have been stopped", "enough new ones run"),
    ],
)
def test_what_holds_it_up_is_told_for_each_task(fields: dict[str, Any], later: str, left: str) -> None:
    shown = notes(seen(migrating(**fields), task(0, name=OLD)))
    assert later in shown[f"{NEW}-1"]
    assert left in shown[f"{OLD}-0"]


def test_on_the_way_back_the_new_tasks_are_the_ones_that_go() -> None:
    shown = notes(seen(migrating("reverting"), task(0), task(0, name=OLD)))
    assert shown[f"{NEW}-0"] == "running: is stopped when enough old ones run"
    assert shown[f"{OLD}-0"] == "running: "


@pytest.mark.parametrize(
    ("state", "goal", "reached", "says"),
    [
        ("running", GOAL, False, ""),
        ("done", GOAL, True, ""),
        ("done", BACK, False, f"m-9 is done: {KEY} is at {NEW}"),
        ("reverting", GOAL, False, ""),
        ("reverted", GOAL, False, f"brought back to {OLD}: it broke"),
        ("reverted", BACK, True, ""),
        ("failed", GOAL, False, "m-9 has failed: it broke"),
        ("ended", GOAL, False, "m-9 has ended: it broke"),
    ],
)
def test_how_it_ends(state: str, goal: MigrationOver, reached: bool, says: str) -> None:
    shown = seen(migrating(state), goal=goal)
    assert shown.reached is reached
    assert says in " ".join(shown.impossible)
    assert bool(shown.impossible) is bool(says)


def test_before_the_worker_has_heard_of_it_nothing_is_proven() -> None:
    assert seen(job()).impossible == []
    assert seen({**job(), "migration": migration("done", id="m-3")}).impossible == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": KEY, "gone": True}, f"{KEY} was unscheduled meanwhile"),
        ({**job(), "migration": migration(id="m-12")}, "m-9 is not the last migration"),
    ],
)
def test_a_migration_that_vanishes_is_not_waited_for(change: dict[str, Any], says: str) -> None:
    shown = progress(GOAL, ("snapshot", snapshot(migrating())), ("job", change))
    assert says in shown.impossible[0]


def test_the_live_view_tells_the_time_that_is_left() -> None:
    assert time_left(1125.4, 1000.0) == "in 2:05"
    assert time_left(900.0, 1000.0) == "in 0:00"
    stream = io.StringIO()
    with LiveDisplay(QuietConsole(file=stream, force_terminal=True, width=80), KEY) as shown:
        shown.show(Progress(summary="so far", deadline_at=0.0), "")
    assert "fails in 0:00 unless it goes forward" in stream.getvalue()
    assert seen(migrating(deadline_at=77.0)).deadline_at == 77.0


def test_a_stopped_job_is_not_taken_for_one_that_starts_late() -> None:
    stopped = {**job(), "stopped": True}
    shown = progress(AllRunning(KEY, HASH), ("snapshot", snapshot(stopped, task(0), task(1))))
    assert (shown.reached, shown.impossible) == (False, [])
    assert "harpoonctl start" in shown.summary


def test_a_stopped_job_is_stopped_once_it_says_so_and_has_no_task() -> None:
    goal = AllGone(KEY, (HASH,), stopped=True)
    stopped = ("job", {**job(), "stopped": True})
    assert not progress(goal, ("snapshot", snapshot(job()))).reached
    assert not progress(goal, ("snapshot", snapshot(job(), task(0))), stopped).reached
    assert progress(goal, ("snapshot", snapshot(job())), stopped).reached


def test_of_two_versions_with_one_hash_the_newer_one_is_waited_for() -> None:
    restarted = job()
    newer = {**restarted["versions"][0], "prefix": "hello-1111111"}
    restarted["versions"].append(newer)
    tasks = [task(0), task(1), task(0, name="hello-1111111")]
    assert not progress(AllRunning(KEY, HASH), ("snapshot", snapshot(restarted, *tasks))).reached


def test_the_table_and_the_story_of_jobs_tell_of_it() -> None:
    stream = io.StringIO()
    plain, told = (msgspec.convert(one, Job) for one in (job(), migrating("reverted", message="back at x")))
    QuietConsole(file=stream, width=120).print(jobs_table([plain]))
    assert "NOTE" not in stream.getvalue(), "as before"
    QuietConsole(file=stream, width=120).print(jobs_table([plain, told]))
    assert "m-9 back at x" in stream.getvalue()
    assert story(Change("job", KEY, plain, told)).endswith("m-9 back at x")
