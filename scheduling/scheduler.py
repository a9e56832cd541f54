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

from scheduling import reasons
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual, ContainerReport
from scheduling.container import totals
from scheduling.dependencies import unmet
from scheduling.desired import AGENT, JOB, MIGRATION, PLACEMENT, Copy, Desired, Job, Placement
from scheduling.failures import Failures, given_up
from scheduling.job import task_id, task_index, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import Brake, LostWatch, ended_release, is_connected, returned
from scheduling.migrating import StepMigration
from scheduling.migration import Migration
from scheduling.migrator import Migrator
from scheduling.placement import Algorithm, explain, fits
from scheduling.presence import EndRelease, MarkLost
from scheduling.registry import WritePlacement
from scheduling.replica import Key
from scheduling.room import Room, measure, need_of
from scheduling.waiting import Waiting

LOST_AFTER_SECONDS = 60.0
Write = WritePlacement | MarkLost | EndRelease | StepMigration


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one round decided: writes for the registry, and why which tasks wait (None: no longer)."""

    writes: tuple[Write, ...]
    waiting: dict[str, Waiting | None]
    brake: Brake | None = None


class Scheduler:
    """Keeps track of what a change touches, and decides about it. Feed it changes, then ask `decide`."""

    def __init__(
        self, algorithm: Algorithm, rng: Random, lost_after_seconds: float = LOST_AFTER_SECONDS
    ) -> None:
        self.desired = Desired()
        self.actual = Actual()
        self._algorithm = algorithm
        self._rng = rng
        self._rooms: dict[str, Room] = {}
        self._dirty: set[str] = set()
        self._unplaced: dict[str, set[str]] = {}
        self._waiting: dict[str, Waiting] = {}
        self._lost = LostWatch(lost_after_seconds)
        self._failures = Failures()
        self._migrator = Migrator()
        self._looked_at = 0.0

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
                if key[1] not in self.desired.agents:
                    self._dirty.update(self.actual.containers.get(key[1], ()))  # what it holds counts now
            elif key[0] == MIGRATION:
                self._touch_migration(self.desired.migrations.get(key[1]), changes[key])
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

    def wake(self, now: float) -> None:
        """Touch what is due by time alone: pauses that have ended, agents away for too long or back."""
        self._dirty.update(self._failures.due(self._looked_at, now))
        self._looked_at = now
        for name, agent in self.desired.agents.items():
            if agent.lost_since is not None:
                self._dirty.update(self.desired.by_agent.get(name, ()))

    def decide(self, now: float) -> Decisions:
        """Look at everything touched; what is decided counts as soon as the registry has written it.

        A lost agent that is back: which copies stay is written before the fact that it is back, since
        nothing is commanded there before that.
        """
        back = returned(self.desired, self.actual)
        for name in back:
            self._dirty.update(self.desired.by_agent.get(name, ()))
        writes: list[Write] = []
        touched_prefixes = set()
        for task in sorted(self._dirty, key=lambda name: (task_prefix(name), task_index(name))):
            prefix = task_prefix(task)
            touched_prefixes.add(prefix)
            self._unplaced.get(prefix, set()).discard(task)
            write = self._judge(task, now)
            if write is not None:
                writes.append(write)
        self._dirty = set()
        # Whoever waits looks again each round: room may have appeared.
        changed: dict[str, Waiting | None] = {}
        for prefix in sorted(touched_prefixes | set(self._unplaced)):
            self._place(prefix, writes, changed, now)
        writes += self._migrator.steps(self.desired, self.actual, self._failures, now)
        writes += [MarkLost(agent=name, since=None) for name in back]
        writes += self._lost.lost(self.desired, self.actual, now)
        writes += ended_release(self.desired, self.actual)
        brake = self._lost.brake(self.desired, self.actual, now)
        return Decisions(writes=tuple(writes), waiting=changed, brake=brake)

    def refused(self, writes: Iterable[Write]) -> None:
        """These writes lost against a change: forget that their rooms were taken, and look again."""
        for write in writes:
            if not isinstance(write, WritePlacement):
                continue  # looked at again in any case, at the next waking
            self._dirty.add(write.task)
            for copy in write.copies:
                self._rooms.pop(copy.agent, None)

    def _judge(self, task: str, now: float) -> WritePlacement | None:
        """What to write for one task, or None: nothing, or it is noted as having no place."""
        placement = self.desired.placements.get(task)
        job = self.desired.jobs.get(task_prefix(task))
        wanted = self.desired.wanted(task)
        if not wanted:
            self._failures.forget(task)
        if placement is not None:
            return self._judge_placed(placement, wanted=wanted, now=now)
        if job is None or not 0 <= task_index(task) < job.config.scale:
            return None
        adopted = self._adoptable(task)
        if not wanted:
            # Its job is kept and stopped, or not yet begun: what runs of it is ours, and is stopped.
            stops = tuple(Copy(copy.agent, "stop") for copy in adopted)
            return WritePlacement(task=task, expected=0, copies=stops) if stops else None
        # A copy on an agent that has not answered may be the better one to keep.
        if adopted and not self._unknown_holders(job):
            return WritePlacement(task=task, expected=0, copies=adopted)
        self._unplaced.setdefault(job.prefix, set()).add(task)
        return None

    def _judge_placed(self, placement: Placement, *, wanted: bool, now: float) -> WritePlacement | None:
        copies = tuple(copy for copy in placement.copies if not self._is_gone(placement, copy))
        if wanted:
            copies = self._back_to_returned(placement, copies) + self._strays(placement)
            copies = self._without_given_up(placement, copies, now)
            if self._needs_another_place(placement.task, copies, now):
                self._unplaced.setdefault(task_prefix(placement.task), set()).add(placement.task)
        else:
            copies = tuple(Copy(copy.agent, "stop") for copy in copies)
        if copies == placement.copies:
            return None
        return WritePlacement(task=placement.task, expected=placement.generation, copies=copies)

    def _is_gone(self, placement: Placement, copy: Copy) -> bool:
        """Whether a copy can leave: proven absent, or on a lost agent that was removed by its operator."""
        agent = self.desired.agents.get(copy.agent)
        given_up = agent is None or (agent.lost_since is not None and not agent.sources)
        return given_up or self._proven_absent(placement, copy)

    def _back_to_returned(self, placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """A lost agent is back and its copy runs, while the replacement does not yet: it stays after all."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        if running is None or self._runs(running, placement.task):
            return copies
        back = [
            copy.agent
            for copy in copies
            if copy.intent == "stop"
            and (agent := self.desired.agents.get(copy.agent)) is not None
            and agent.lost_since is not None
            and is_connected(self.actual, copy.agent)
            and self._runs(copy.agent, placement.task)
        ]
        if not back:
            return copies
        return tuple(Copy(copy.agent, "run" if copy.agent == back[0] else "stop") for copy in copies)

    def _runs(self, agent: str, task: str) -> bool:
        report = self.actual.report(agent, task)
        return report is not None and report.phase is Phase.RUNNING

    def _without_given_up(
        self, placement: Placement, copies: tuple[Copy, ...], now: float
    ) -> tuple[Copy, ...]:
        """A copy that its agent has given up is stopped there, to be placed again after a pause."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        if running is None:
            return copies
        reason = given_up(self.actual.report(running, placement.task), placement)
        if not reason:
            return copies
        self._failures.note(placement, running, reason, now)
        return tuple(Copy(copy.agent, "stop") for copy in copies)

    def _needs_another_place(self, task: str, copies: tuple[Copy, ...], now: float) -> bool:
        """Whether all copies are on lost agents, for longer than the job tolerates."""
        agents = [self.desired.agents.get(copy.agent) for copy in copies]
        return bool(agents) and all(
            agent is not None
            and not is_connected(self.actual, agent.name)
            and self._lost.is_over(agent, self.desired, task, now)
            for agent in agents
        )

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
            and report.proves_absence(placement.generation)
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
            and report.goal != "stop"  # it is on its way out, and may be gone before this is written
        ]
        best = min(there, key=_worth, default=None)
        return tuple(Copy(report.agent, "run" if report is best else "stop") for report in there)

    def _place(
        self, prefix: str, writes: list[Write], changed: dict[str, Waiting | None], now: float
    ) -> None:
        """Find room for the tasks of one version that have none, and say why for those that find none."""
        job = self.desired.jobs.get(prefix)
        tasks = sorted(self._unplaced.get(prefix, ()), key=task_index)
        waiting = None
        if job is not None and tasks:
            unknown = self._unknown_holders(job)
            pausing = [task for task in tasks if self._failures.pauses(task, now)]
            blocked = list(unmet(job, self.desired, self.actual))
            ready = [] if unknown or blocked else [task for task in tasks if task not in pausing]
            placed = self._choose(job, ready)
            writes.extend(self._placed(task, room) for task, room in placed.items())
            left = [task for task in tasks if task not in placed]
            self._unplaced[prefix] = set(left)
            if left:
                failures = [failure for task in pausing if (failure := self._failures.of(task))]
                waiting = (
                    reasons.unheard(prefix, len(left), unknown)
                    or reasons.depending(prefix, len(left), blocked)
                    or (reasons.pausing(prefix, len(left), failures) if len(pausing) == len(left) else None)
                    or explain(prefix, len(left), need_of(job.config), self._all_rooms())
                )
        if not self._unplaced.get(prefix):
            self._unplaced.pop(prefix, None)
        if waiting != self._waiting.get(prefix):
            changed[prefix] = waiting
            if waiting is None:
                del self._waiting[prefix]
            else:
                self._waiting[prefix] = waiting

    def _choose(self, job: Job, tasks: list[str]) -> dict[str, Room]:
        """Rooms for as many of the tasks as fit: where its plan says; elsewhere than where it failed."""
        need, rooms = need_of(job.config), self._open_rooms()
        placed: dict[str, Room] = {}
        plain = []
        for task in tasks:
            failure = self._failures.of(task)
            planned = job.planned.get(str(task_index(task))) if failure is None and job.planned else None
            room = self._rooms.get(planned) if planned is not None else None
            if room is not None and fits(need, room):
                room.take(need)
                placed[task] = room
                continue
            others = [room for room in rooms if room.agent != failure.agent] if failure is not None else []
            chosen = self._algorithm(need, 1, others, self._rng) if others else []
            if chosen:
                placed[task] = chosen[0]
            else:
                plain.append(task)
        placed.update(zip(plain, self._algorithm(need, len(plain), rooms, self._rng), strict=False))
        return placed

    def _placed(self, task: str, room: Room) -> WritePlacement:
        """The write that places a task; copies on lost agents stay, to be stopped when those return."""
        placement = self.desired.placements.get(task)
        old = tuple(Copy(copy.agent, "stop") for copy in placement.copies) if placement is not None else ()
        return WritePlacement(
            task=task,
            expected=placement.generation if placement is not None else 0,
            copies=(*old, Copy(room.agent, "run")),
        )

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
            for index in range(job.config.scale):
                task = task_id(prefix, index)
                self._dirty.add(task)
                self._forget_rooms(self.desired.placements.get(task))

    def _touch_migration(self, old: Migration | None, new: Migration | None) -> None:
        """A step touches the tasks that it starts or stops; the end of a migration all that are left."""
        known = new or old
        for prefix in (known.old, known.new) if known is not None else ():
            if old is None or new is None or old.over != new.over:
                self._touch_job(prefix)
            else:
                changed = set(old.wanted(prefix)) ^ set(new.wanted(prefix))
                self._dirty.update(task_id(prefix, index) for index in changed)

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
