"""What can be waited for about a job: how far it is, whether it is reached, whether it can be at all.

Pure: goals look at a `World` and say so. Everything a user waits for is a `Goal`.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol

import msgspec

from config.bounds import MOST_REASONS_SHOWN as _REASONS_SHOWN
from ctl.shapes import Task, Version
from ctl.text import counted, exit_text, joined, task_note, waiting_text
from ctl.world import World
from scheduling.job import task_id, task_index, task_prefix


class Line(msgspec.Struct, frozen=True):
    """One task: where it stands and what it waits for. `settled`: nothing more is expected of it."""

    task: str
    status: str
    agent: str = ""
    note: str = ""
    settled: bool = False


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a goal is. `impossible`: why it can't be reached any more, empty as long as it can.

    `deadline_at`: when it fails unless something goes forward, seconds since 1970.
    """

    summary: str
    lines: list[Line] = []
    reached: bool = False
    impossible: list[str] = []
    deadline_at: float | None = None


class Goal(Protocol):
    """What somebody waits for, about the job `key`."""

    @property
    def key(self) -> str:
        """The job."""
        ...

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the ids of its tasks are known to begin with."""
        ...

    def progress(self, world: World, seen: bool) -> Progress:
        """`seen`: the job (or its version) was in the world at least once since the request."""
        ...

    def is_there(self, world: World) -> bool:
        """Whether what the goal is about is in the world."""
        ...


class AllRunning(msgspec.Struct, frozen=True):
    """Every task of one version runs; one that is meant to end may have ended well instead."""

    key: str
    hash: str
    prefixes: tuple[str, ...] = ()

    def is_there(self, world: World) -> bool:
        """Whether the version is registered."""
        return _version(world, self.key, self.hash) is not None

    def progress(self, world: World, seen: bool) -> Progress:
        """A version that is not there yet may be on its way to the worker that tells us."""
        version = _version(world, self.key, self.hash)
        if version is None:
            gone = [self._why_gone(world)] if seen else []
            return Progress(summary="the scheduler is taking it up", impossible=gone)
        if world.jobs[self.key].stopped:
            # Not impossible: who tells us may not have heard yet that it is started.
            return Progress(summary=stopped_text(self.key))
        tasks = [
            world.tasks.get(name) or Task(id=name, status="waiting")
            for name in (task_id(version.task_prefix, index) for index in version.indices)
        ]
        policy = str(version.config.get("restart", ""))
        lines = [
            _line(task, version, (_runs(task) and _well(task)) or _ended_well(task, policy)) for task in tasks
        ]
        dead = [
            f"{task.id} ended: {exit_text(task)}; it is not restarted, as its restart policy is no"
            for task in tasks
            if policy == "no" and _ended_badly(task)
        ]
        return Progress(
            summary=_summary(tasks, version),
            lines=lines,
            reached=bool(tasks) and all(line.settled for line in lines),
            impossible=dead[:_REASONS_SHOWN],
        )

    def _why_gone(self, world: World) -> str:
        others = [version.hash for version in world.jobs[self.key].versions] if self.key in world.jobs else []
        if others:
            return f"{self.key} ({self.hash}) was replaced by {joined(others)} meanwhile"
        return f"{self.key} ({self.hash}) was unscheduled meanwhile"


class AllGone(msgspec.Struct, frozen=True):
    """Nothing is left: of the whole job, or with `one_version` of just the version with these prefixes.

    The prefixes are needed for the whole job too: once it is forgotten, a task that no agent has
    reported tells only by its id whose it is. `stopped`: the job itself is kept, and only has no tasks.
    """

    key: str
    prefixes: tuple[str, ...] = ()
    one_version: bool = False
    stopped: bool = False

    def is_there(self, world: World) -> bool:
        """Whether the job, or the version, is still registered."""
        return bool(self._versions(world))

    def progress(self, world: World, seen: bool) -> Progress:  # noqa: ARG002  # vanishing is the goal
        """A foreign container of that name is none of our tasks."""
        left = [
            task
            for task in world.tasks.values()
            if not task.foreign and (not self.one_version or task_prefix(task.id) in self.prefixes)
        ]
        left.sort(key=lambda task: (task_prefix(task.id), task_index(task.id)))
        registered = self._versions(world) and not (self.stopped and world.jobs[self.key].stopped)
        if left:
            summary = f"{counted(len(left), 'task')} left"
        else:
            summary = "the scheduler is taking it up" if registered else "nothing left"
        return Progress(
            summary=summary,
            lines=[Line(task.id, task.status, task.agent or "", task_note(task)) for task in left],
            reached=not left and not registered,
        )

    def _versions(self, world: World) -> list[Version]:
        versions = world.jobs[self.key].versions if self.key in world.jobs else []
        return [
            version for version in versions if not self.one_version or version.task_prefix in self.prefixes
        ]


def _version(world: World, key: str, name: str) -> Version | None:
    """While a job is restarted two of its versions have one hash: the newer one is meant."""
    versions = world.jobs[key].versions if key in world.jobs else []
    return next((version for version in reversed(versions) if version.hash == name), None)


def _runs(task: Task) -> bool:
    return task.status == "running" and not task.stale and not task.foreign and task.intent != "stop"


def _well(task: Task) -> bool:
    return task.health is None or task.health.state == "healthy"


def _ended_well(task: Task, policy: str) -> bool:
    done = task.exit is not None and task.exit.exited and task.exit.exit_status == 0
    return task.status == "ended" and done and policy in ("no", "on-failure")


def _ended_badly(task: Task) -> bool:
    """It ran, and ended other than well; one that could not be started is placed again instead."""
    return (
        task.status == "ended"
        and task.exit is not None
        and (task.exit.signaled or task.exit.oomed or (task.exit.exited and task.exit.exit_status != 0))
    )


def _line(task: Task, version: Version, settled: bool) -> Line:
    return Line(task.id, task.status, task.agent or "", task_note(task, version.waiting), settled)


def _summary(tasks: list[Task], version: Version) -> str:
    states = Counter("stale" if task.stale else task.status for task in tasks)
    parts = [f"{states.pop('running', 0)} of {len(tasks)} running"]
    waiting = states.pop("waiting", 0)
    parts += [f"{number} {status}" for status, number in sorted(states.items())]
    if waiting:
        why = f": {waiting_text(version.waiting)}" if version.waiting is not None else ""
        parts.append(f"{waiting} waiting{why}")
    return ", ".join(parts)


def stopped_text(key: str) -> str:
    """Why a job that is kept and not run has no tasks."""
    return f"{key} is stopped; `harpoonctl start {key}` runs it"


def open_ends(progress: Progress) -> list[str]:
    """The tasks that a goal still waits for, a line each."""
    unsettled = [line for line in progress.lines if not line.settled]
    shown = [
        f"{line.task}: {line.status}" + (f" on {line.agent}" if line.agent else "") + _after(line.note)
        for line in unsettled[:_REASONS_SHOWN]
    ]
    more = len(unsettled) - len(shown)
    return [*shown, f"and {more} more"] if more else shown


def _after(note: str) -> str:
    return f" ({note})" if note else ""
