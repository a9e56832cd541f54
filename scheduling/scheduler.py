"""The scheduler's rule: which placements to write, given the desired and the actual state.

For each task there are few questions, asked in order: is it wanted; which of its copies are proven
gone; does it already run somewhere without a placement; might it run somewhere unknown; and if none
of these settles it, where is there room. The answers are writes for the registry, and for what has no
room the reasons. Only tasks touched by a change are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import msgspec

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual, ContainerReport
from scheduling.container import totals
from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Desired, Job, Placement
from scheduling.job import task_id, task_index, task_prefix
from scheduling.lifecycle import Phase
from scheduling.placement import Algorithm, explain
from scheduling.registry import WritePlacement
from scheduling.replica import Key
from scheduling.room import Need, Room, measure, need_of
from scheduling.waiting import Waiting


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one round decided: writes for the registry, and why which tasks wait (None: no longer)."""

    writes: tuple[WritePlacement, ...]
    waiting: dict[str, Waiting | None]


class Scheduler:
    """Keeps track of what a change touches, and decides about it. Feed it changes, then ask `decide`."""

    def __init__(self, algorithm: Algorithm, rng: Random) -> None:
        self.desired = Desired()
        self.actual = Actual()
        self._algorithm = algorithm
        self._rng = rng
        self._rooms: dict[str, Room] = {}
        self._dirty: set[str] = set()
        self._unplaced: dict[str, set[str]] = {}
        self._waiting: dict[str, Waiting] = {}

    @property
    def has_work(self) -> bool:
        """Whether anything was touched since the last decision."""
        return bool(self._dirty)

    def desired_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the desired state."""
        for key in changes:
            if key[0] == JOB:
                self._touch_job(key[1])
            elif key[0] == PLACEMENT:
                self._dirty.add(key[1])
                self._forget_rooms(self.desired.placements.get(key[1]))
            elif key[0] == AGENT:
                self._touch_agent(key[1])
        self.desired.apply(changes)
        for key, value in changes.items():
            if key[0] == JOB:
                self._touch_job(key[1])
            elif key[0] == PLACEMENT:
                self._forget_rooms(value)

    def actual_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the actual state."""
        before = {key[1]: self.actual.agents.get(key[1]) for key in changes if key[0] == ACTUAL_AGENT}
        self.actual.apply(changes)
        for key in changes:
            if key[0] == CONTAINER:
                self._rooms.pop(key[1], None)
                if key[2] in self.desired.placements or task_prefix(key[2]) in self.desired.jobs:
                    self._dirty.add(key[2])
                else:
                    self._touch_unplaced()  # a foreign one may have made room
        for name, old in before.items():
            new = self.actual.agents.get(name)
            if old is None or new is None or _matters(old) != _matters(new):
                self._touch_agent(name)

    def decide(self) -> Decisions:
        """Look at everything touched; what is decided counts as soon as the registry has written it."""
        writes: list[WritePlacement] = []
        touched_prefixes = set()
        for task in sorted(self._dirty, key=lambda name: (task_prefix(name), task_index(name))):
            prefix = task_prefix(task)
            touched_prefixes.add(prefix)
            self._unplaced.get(prefix, set()).discard(task)
            write = self._judge(task)
            if write is not None:
                writes.append(write)
        self._dirty = set()
        # Whoever waits looks again each round: room may have appeared.
        changed: dict[str, Waiting | None] = {}
        for prefix in sorted(touched_prefixes | set(self._unplaced)):
            self._place(prefix, writes, changed)
        return Decisions(writes=tuple(writes), waiting=changed)

    def refused(self, writes: Iterable[WritePlacement]) -> None:
        """These writes lost against a change: forget that their rooms were taken, and look again."""
        for write in writes:
            self._dirty.add(write.task)
            for copy in write.copies:
                self._rooms.pop(copy.agent, None)

    def _judge(self, task: str) -> WritePlacement | None:
        """What to write for one task, or None: nothing, or it is noted as having no place."""
        placement = self.desired.placements.get(task)
        job = self.desired.jobs.get(task_prefix(task))
        wanted = job is not None and 0 <= task_index(task) < job.config.scale
        if placement is not None:
            return self._judge_placed(placement, wanted=wanted)
        if job is None or not wanted:
            return None
        adopted = self._adoptable(task)
        # A copy on an agent that has not answered may be the better one to keep.
        if adopted and not self._unknown_holders(job):
            return WritePlacement(task=task, expected=0, copies=adopted)
        self._unplaced.setdefault(job.prefix, set()).add(task)
        return None

    def _judge_placed(self, placement: Placement, *, wanted: bool) -> WritePlacement | None:
        copies = tuple(
            Copy(copy.agent, copy.intent if wanted else "stop")
            for copy in placement.copies
            if not self._proven_absent(placement, copy)
        )
        if wanted:
            copies += self._strays(placement)
        if copies == placement.copies:
            return None
        return WritePlacement(task=placement.task, expected=placement.generation, copies=copies)

    def _strays(self, placement: Placement) -> tuple[Copy, ...]:
        """Copies of a placed task where it has no placement (an old disk, a late answer): to be stopped."""
        placed = {copy.agent for copy in placement.copies}
        return tuple(
            Copy(name, "stop")
            for name in sorted(self.actual.by_task.get(placement.task, ()))
            if name not in placed and name in self.desired.agents and self._is_there(name, placement.task)
        )

    def _is_there(self, agent: str, task: str) -> bool:
        report = self.actual.report(agent, task)
        return report is not None and report.phase not in (Phase.ABSENT, Phase.DELETING)

    def _proven_absent(self, placement: Placement, copy: Copy) -> bool:
        """A copy to be stopped is gone when its state machine says so for this very generation."""
        report = self.actual.report(copy.agent, placement.task)
        return (
            copy.intent == "stop"
            and report is not None
            and report.phase is Phase.ABSENT
            and report.goal == "stop"
            and report.generation == placement.generation
            and self.actual.answered(copy.agent)
        )

    def _adoptable(self, task: str) -> tuple[Copy, ...]:
        """Copies of a wanted task that are there without a placement: one is kept, others are stopped."""
        there = [
            report
            for name in sorted(self.actual.by_task.get(task, ()))
            if name in self.desired.agents
            and self._is_there(name, task)
            and (report := self.actual.report(name, task)) is not None
        ]
        best = min(there, key=_worth, default=None)
        return tuple(Copy(report.agent, "run" if report is best else "stop") for report in there)

    def _place(self, prefix: str, writes: list[WritePlacement], changed: dict[str, Waiting | None]) -> None:
        """Find room for the tasks of one version that have none, and say why for those that find none."""
        job = self.desired.jobs.get(prefix)
        tasks = sorted(self._unplaced.get(prefix, ()), key=task_index)
        waiting = None
        if job is not None and tasks:
            need = need_of(job.config)
            unknown = self._unknown_holders(job)
            chosen = [] if unknown else self._algorithm(need, len(tasks), self._open_rooms(), self._rng)
            writes.extend(
                WritePlacement(task=task, expected=0, copies=(Copy(room.agent, "run"),))
                for task, room in zip(tasks, chosen, strict=False)
            )
            left = tasks[len(chosen) :]
            self._unplaced[prefix] = set(left)
            if left:
                waiting = self._why(job, need, left, unknown)
        if not self._unplaced.get(prefix):
            self._unplaced.pop(prefix, None)
        if waiting != self._waiting.get(prefix):
            changed[prefix] = waiting
            if waiting is None:
                del self._waiting[prefix]
            else:
                self._waiting[prefix] = waiting

    def _unknown_holders(self, job: Job) -> list[str]:
        """Agents that have not answered and might hold a task of this job: nothing is placed meanwhile."""
        suspects: Iterable[str] = self.desired.agents
        if not job.adopt:
            suspects = {
                copy.agent
                for index in range(job.config.scale)
                if (placement := self.desired.placements.get(task_id(job.prefix, index))) is not None
                for copy in placement.copies
            }
        return sorted(name for name in suspects if self._might_hold(name))

    def _might_hold(self, name: str) -> bool:
        agent = self.desired.agents.get(name)
        return agent is not None and agent.lost_since is None and not self.actual.answered(name)

    def _why(self, job: Job, need: Need, left: list[str], unknown: list[str]) -> Waiting:
        if not unknown:
            return explain(job.prefix, len(left), need, self._all_rooms())
        names = ", ".join(unknown[:3]) + (", …" if len(unknown) > 3 else "")
        return Waiting(
            prefix=job.prefix,
            tasks=len(left),
            reason=f"{names} may hold it and {'has' if len(unknown) == 1 else 'have'} not answered yet",
            agents=len(unknown),
        )

    def _all_rooms(self) -> list[Room]:
        for name, agent in self.desired.agents.items():
            if name not in self._rooms:
                self._rooms[name] = measure(agent, self.desired, self.actual)
        return [self._rooms[name] for name in self.desired.agents]

    def _open_rooms(self) -> list[Room]:
        return [room for room in self._all_rooms() if not room.closed]

    def _forget_rooms(self, placement: Placement | None) -> None:
        for copy in placement.copies if placement else ():
            self._rooms.pop(copy.agent, None)

    def _touch_job(self, prefix: str) -> None:
        job = self.desired.jobs.get(prefix)
        if job is not None:
            self._dirty.update(task_id(prefix, index) for index in range(job.config.scale))

    def _touch_agent(self, name: str) -> None:
        """A change of an agent touches its tasks, and all that wait for room."""
        self._rooms.pop(name, None)
        self._dirty.update(self.desired.by_agent.get(name, ()))
        self._touch_unplaced()

    def _touch_unplaced(self) -> None:
        for tasks in self._unplaced.values():
            self._dirty.update(tasks)


def _matters(status: Any) -> tuple[Any, ...]:
    """The part of an agent's status that placements depend on; its reservations are not."""
    has = totals(status.resources) if status.resources is not None else None
    return status.link, status.answered, status.error, has


def _worth(report: ContainerReport) -> tuple[int, str]:
    """Which of several copies to keep: the one that runs, then the one nearest to it."""
    order = (Phase.RUNNING, Phase.STARTING, Phase.CREATED, Phase.CREATING)
    rank = order.index(report.phase) if report.phase in order else len(order)
    return rank, report.agent
