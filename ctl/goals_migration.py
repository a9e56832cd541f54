"""Waiting for a migration: each task of both versions, what it waits for, and how it ends.

Pure, as `ctl.goals`. A migration is over when it says so itself; the tasks only show how far it is.
"""

from __future__ import annotations

import msgspec

from ctl.goals import Line, Progress
from ctl.migration_shapes import Migration, Side
from ctl.shapes import Task, Version
from ctl.text import task_note
from ctl.waiting_shapes import Waiting
from ctl.world import World
from scheduling.job import task_id, task_index, task_prefix


class MigrationOver(msgspec.Struct, frozen=True):
    """One migration has come to its end; `back`: that is meant to be the old version."""

    key: str
    id: str
    back: bool = False

    @property
    def prefixes(self) -> tuple[str, ...]:
        """None: as long as it is waited for, the job is there and tells whose its tasks are."""
        return ()

    def is_there(self, world: World) -> bool:
        """Whether the migration is told of."""
        return self._told(world) is not None

    def progress(self, world: World, seen: bool) -> Progress:
        """It is not there yet while the worker that tells us has not heard of it."""
        told = self._told(world)
        if told is None:
            gone = [self._why_gone(world)] if seen else []
            return Progress(summary="the scheduler is taking it up", impossible=gone)
        job = world.jobs[self.key]
        return Progress(
            summary=f"{told.message}{_hint(told)}",
            lines=_lines(told, world, {version.task_prefix: version for version in job.versions}),
            reached=told.state == ("reverted" if self.back else "done"),
            impossible=self._impossible(told),
            deadline_at=told.deadline_at,
        )

    def _told(self, world: World) -> Migration | None:
        job = world.jobs.get(self.key)
        told = job.migration if job is not None else None
        return told if told is not None and told.id == self.id else None

    def _why_gone(self, world: World) -> str:
        job = world.jobs.get(self.key)
        if job is None:
            return f"{self.key} was unscheduled meanwhile"
        other = f"; it is {job.migration.id} now" if job.migration is not None else ""
        return f"{self.id} is not the last migration of {self.key} any more{other}"

    def _impossible(self, told: Migration) -> list[str]:
        if told.state == "done" and self.back:
            return [f"{told.id} is done: {self.key} is at {told.new.hash}"]
        if told.state == "reverted" and not self.back:
            return [f"{self.key} was brought back to {told.old.hash}: {told.reason}"]
        if told.state == "failed":
            return [
                f"{told.id} has failed: {told.reason}",
                f"both versions stay as they are; go on with `harpoonctl migration resume {told.id}`, "
                f"or back with `harpoonctl migration abort {told.id}`",
            ]
        return [f"{told.id} has ended: {told.reason}"] if told.state == "ended" else []


def _hint(told: Migration) -> str:
    """What its operator can do, where the migration waits for just that."""
    if told.paused:
        return f" (harpoonctl migration resume {told.id})"
    if told.awaits_promotion and told.new.running >= told.new.wanted > 0:
        return f" (harpoonctl migration promote {told.id})"
    return ""


def _lines(told: Migration, world: World, versions: dict[str, Version]) -> list[Line]:
    """A line for each task: of the version it goes to all, of the version it leaves what is there."""
    to, leaving = (told.old, told.new) if told.backward else (told.new, told.old)
    version = versions.get(to.prefix)
    waiting = version.waiting if version is not None else None
    indices = version.indices if version is not None else range(to.scale)
    lines = [_coming(told, to, index, world, waiting) for index in indices]
    left = [
        task
        for task in world.tasks.values()
        if task_prefix(task.id) == leaving.prefix and not task.foreign and not told.over
    ]
    left.sort(key=lambda task: task_index(task.id))
    return lines + [_going(told, task) for task in left]


def _coming(told: Migration, to: Side, index: int, world: World, waiting: Waiting | None) -> Line:
    task = world.tasks.get(task_id(to.prefix, index))
    if task is None:
        return Line(task_id(to.prefix, index), "later", note=_turn(told))
    runs = task.status == "running" and not task.stale and task.intent != "stop"
    note = task_note(task, waiting)
    if runs and not note and not told.over and not told.backward and to.running < to.scale:
        note = f"counts once it has run for {told.min_healthy_seconds:g} s"
    return Line(task.id, task.status, task.agent or "", note, settled=runs)


def _turn(told: Migration) -> str:
    """What a task waits for that is not started yet."""
    if told.paused:
        return "waits until the migration is resumed"
    if told.awaits_promotion:
        return "waits until the canaries are promoted"
    if told.strategy == "in_place":
        return "waits until old tasks have been stopped"
    return f"waits for its turn, {told.max_parallel} at a time"


def _going(told: Migration, task: Task) -> Line:
    if task.intent == "stop":
        note = "is being stopped"
    elif told.paused:
        note = "stays until the migration is resumed"
    elif told.awaits_promotion:
        note = "stays until the canaries are promoted"
    else:
        note = f"is stopped when enough {'old' if told.backward else 'new'} ones run"
    told_of = task_note(task)
    return Line(task.id, task.status, task.agent or "", f"{note}, {told_of}" if told_of else note)
