"""The rows of the table of failures (docs/architecture.md) about the scheduler's own side: each with its
story, which must fail without what brings the outcome about."""

from __future__ import annotations

from typing import Any

import pytest
from story_checks import breaks, holds, off, until_runs_anywhere

from actors.nursery import Nursery
from scheduling import scheduler
from scheduling.desired import JOB, PLACEMENT
from scheduling.jobs import ScheduleJob
from scheduling.rooms import Rooms
from scheduling.waiting import Waiting
from simulation.disk import Disk, MemoryStore
from simulation.scripted import script

pytestmark = pytest.mark.timeout(300)
THREE = {"a": 400, "b": 400, "c": 400}


def nothing_fits(seed: int) -> None:
    with script({"a": 400, "b": 300}, seed) as it:
        it.begin()
        small = it.schedule("web", 4)
        places = until_runs_anywhere(it, *small)
        asked = it.ask(ScheduleJob(config=it.config("db")))
        it.until(lambda: asked.answer is not None, "it is answered")
        it.expect(asked.answer is not None and asked.answer.accepted, "it is accepted")
        prefix = it.config("db").hash()
        it.until(lambda: it.waiting(prefix), "it is said why it waits")
        why: Waiting = it.actor("Scheduler").performer.publisher.state["waiting", prefix]
        free = {name: it.memory(name) - 100 * places.count(name) for name in "ab"}
        said = {refusal.agent: refusal.reason for refusal in why.refusals}
        it.expect(
            said == {name: f"short {350 - free[name]} MB" for name in "ab"}, f"why for each agent: {said}"
        )
        nearest = max("ab", key=lambda name: free[name])
        it.expect(
            f"nearest: {nearest}: short {350 - free[nearest]} MB" in why.reason, "with the nearest miss"
        )
        it.delete("web")
        it.until(lambda: it.runs_on(f"{prefix}-0") == ["a"], "it is placed when room appears")
        it.until(lambda: not it.waiting(prefix), "and waits no more")
        it.end()


def _unexplained(prefix: str, tasks: int, *_: Any) -> Waiting:
    return Waiting(prefix=prefix, tasks=tasks, reason="no agent fits")


_REAL_ROOMS = Rooms.all


def _rooms_as_first_measured(self: Rooms) -> Any:
    kept = self.__dict__.setdefault("kept_rooms", {})
    for room in _REAL_ROOMS(self):
        if not room.closed:
            kept.setdefault(room.agent, room)
    return list(kept.values())


def test_nothing_fits() -> None:
    """ "The request is accepted, the tasks wait, and the API says why for each agent, with the nearest miss;
    they are placed when room appears". That web shows it is in tests/web/test_web_views.py."""
    holds(nothing_fits)
    breaks(nothing_fits, "why for each agent", off(scheduler, "explain", _unexplained))
    breaks(nothing_fits, "placed when room appears", off(Rooms, "all", _rooms_as_first_measured))


CHILDREN = {"Supervisor": ("Registry", "Shepherd"), "Shepherd": ("Flock",), "Flock": ("StateMachine",)}


def actors_die(seed: int) -> None:
    kinds = ("Registry", "Scheduler", "Transformer", "Discovery", "StateMachine", "Flock", "Shepherd")
    with script(THREE, seed) as it:
        it.begin()
        tasks = it.schedule("web", 3, restart="always")
        until_runs_anywhere(it, *tasks)
        rows = [it.row(task) for task in tasks]
        for number, kind in enumerate(kinds):
            dead = it.world.stage.of_kind(kind)
            below = {actor.serial for each in dead for actor in each.children}
            others = {
                actor.serial for actor in it.world.stage.actors.values() if actor not in dead
            } - _all_below(dead)
            it.kill(kind)
            living = {actor.serial for actor in it.world.stage.actors.values()}
            it.expect(not below & living, f"what is below the {kind} has ended with it")
            it.until(lambda kind=kind, dead=dead: len(it.world.stage.of_kind(kind)) == len(dead),  # type: ignore[misc]
                     f"the {kind} is made anew")  # fmt: skip
            (more,) = it.schedule("queue", 1, env={"NUMBER": str(number)})
            until_runs_anywhere(it, more)
            living = {actor.serial for actor in it.world.stage.actors.values()}
            it.expect(others <= living, f"the others go on when the {kind} dies")
        it.expect([it.row(task) for task in tasks] == rows, "placed as before")
        runs = [it.world.agents[it.holders(task)[0]].containers[task].runs for task in tasks]
        it.expect(runs == [1, 1, 1], "nothing was started twice")
        it.end()


def _all_below(actors: list[Any]) -> set[int]:
    below = {child.serial for actor in actors for child in actor.children}
    return below | (_all_below([child for actor in actors for child in actor.children]) if below else set())


_DUE = Nursery.due


def _due_the_first_time(self: Nursery) -> list[str]:
    return [name for name in _DUE(self) if not self.children[name].restarts]


def test_an_actor_dies() -> None:
    """ "Its children end with it (a lifeline, not hope), the supervisor restarts it and it catches up by
    snapshot; the others go on". The lifeline itself is in tests/actors/test_lifeline.py."""
    holds(actors_die)
    breaks(actors_die, "the Registry is made anew", off(Nursery, "due", _due_the_first_time))


def host_restarts(seed: int) -> None:
    with script(THREE, seed) as it:
        it.begin()
        tasks = it.schedule("web", 3, restart="always") + it.schedule("queue", 1, restart="always")
        until_runs_anywhere(it, *tasks)
        rows, asked, places = (
            [it.row(task) for task in tasks],
            it.requests(),
            [it.holders(task) for task in tasks],
        )
        it.never["a task is touched"] = lambda: [it.holders(task) for task in tasks] != places
        it.kill("Supervisor")
        it.expect(not it.world.stage.actors, "no actor is left")
        it.pass_seconds(40.0)
        it.expect([it.row(task) for task in tasks] == rows, "the same placements as before")
        it.expect(it.requests() == asked, "nobody was asked for anything")
        it.end()


def _without_placements(self: MemoryStore) -> tuple[int, dict[Any, Any]]:
    return self.disk.version, {key: value for key, value in self.disk.state.items() if key[0] != PLACEMENT}


def test_the_scheduler_s_host_restarts() -> None:
    """ "Same placements as before, no task restarted"."""
    holds(host_restarts)
    breaks(
        host_restarts,
        "touched|the same placements|go on proof|runs once",
        off(MemoryStore, "load", _without_placements),
    )


def disk_is_full(seed: int) -> None:
    with script(THREE, seed) as it:
        it.begin()
        tasks = it.schedule("web", 2, restart="always")
        until_runs_anywhere(it, *tasks)
        rows, asked = [it.row(task) for task in tasks], it.requests()
        it.strike("disk is full", seconds=30.0)
        more = it.ask(ScheduleJob(config=it.config("queue")))
        job = (JOB, it.config("queue").hash())
        it.never["it is accepted and not on the disk"] = lambda: (
            more.answer is not None and job not in it.world.disk.state
        )
        it.until(lambda: it.logged("the disk is full"), "it is said why it is refused")
        it.pass_seconds(20.0)
        it.expect(more.answer is None, "it is not accepted")
        it.kill("Registry")
        it.until(
            lambda: more.answer is not None and more.answer.accepted, "it is accepted when there is room"
        )
        it.expect([it.row(task) for task in tasks] == rows, "what was accepted is there")
        it.expect(it.requests()[: len(asked)] == asked and not it.requests("stop"), "running tasks go on")
        it.end()


_REAL_COMMIT = Disk.commit


def _commit_or_not(self: Disk, version: int, changes: Any, answers: Any) -> None:
    if not self.full:
        _REAL_COMMIT(self, version, changes, answers)


def test_the_disk_is_full() -> None:
    """ "Requests are refused with a clear error, nothing acknowledged is lost, running tasks go on"."""
    holds(disk_is_full)
    breaks(disk_is_full, "accepted and not on the disk", off(Disk, "commit", _commit_or_not))
