"""The scheduler's rule: which placements to write, given the desired and the actual state.

For each task there are few questions, asked in order: is it wanted; which of its copies are proven
gone; does it already run somewhere without a placement; might it run somewhere unknown; and if none
of these settles it, where is there room. The answers are writes for the registry, and for what has no
room the reasons. Only tasks touched by a change are looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from random import Random
from typing import Any, TypeVar

import msgspec

from scheduling import reasons
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual
from scheduling.container import totals
from scheduling.copies import Copies
from scheduling.dependencies import unmet
from scheduling.desired import AGENT, JOB, MIGRATION, PLACEMENT, Copy, Desired, Placement
from scheduling.everywhere import WritePlaces, fitting, left_out, named
from scheduling.failures import Failures, given_up
from scheduling.job import task_id, task_index, task_prefix
from scheduling.lost import Brake, LostWatch, ended_release, is_connected, returned
from scheduling.migrating import StepMigration
from scheduling.migration import Migration
from scheduling.migrator import Migrator
from scheduling.moving import Moving
from scheduling.placement import Algorithm, explain
from scheduling.presence import EndRelease, MarkLost
from scheduling.rebalancing import EndRebalance, ended_rebalance
from scheduling.registry import WritePlacement
from scheduling.replica import Key
from scheduling.room import Room, need_of_job
from scheduling.rooms import Rooms
from scheduling.waiting import Staying, Waiting

LOST_AFTER_SECONDS = 60.0
_Told = TypeVar("_Told")
Write = WritePlacement | WritePlaces | MarkLost | EndRelease | EndRebalance | StepMigration


class Decisions(msgspec.Struct, frozen=True, kw_only=True):
    """What one round decided: writes for the registry, and why which tasks wait (None: no longer).

    `staying`: by agent that is drained, which of its tasks do not move and why, where that has changed.
    `left_out`: by version with scale `all`, which agents have no task of it and why, where that has changed.
    """

    writes: tuple[Write, ...]
    waiting: dict[str, Waiting | None]
    brake: Brake | None = None
    staying: dict[str, Staying | None] = {}
    left_out: dict[str, Waiting | None] = {}


class Scheduler:
    """Keeps track of what a change touches, and decides about it. Feed it changes, then ask `decide`."""

    def __init__(
        self,
        algorithm: Algorithm,
        rng: Random,
        lost_after_seconds: float = LOST_AFTER_SECONDS,
        *,
        desired: Desired | None = None,
        actual: Actual | None = None,
    ) -> None:
        self.desired = desired or Desired()
        self.actual = actual or Actual()
        self._copies = Copies(self.desired, self.actual)
        self.rooms = Rooms(self.desired, self.actual, algorithm, rng)
        self._dirty: set[str] = set()
        self._unplaced: dict[str, set[str]] = {}
        self._waiting: dict[str, Waiting] = {}
        self._lost = LostWatch(lost_after_seconds)
        self._failures = Failures()
        self._migrator = Migrator()
        self._moving: Moving | None = None
        self._staying: dict[str, Staying] = {}
        self._woken = False
        self._looked_at = 0.0
        # The versions with scale `all`, and whether other agents may fit them by now.
        self._everywhere = {prefix for prefix, job in self.desired.jobs.items() if job.config.everywhere}
        self._left_out: dict[str, Waiting] = {}
        self._fit_anew = True

    @property
    def has_work(self) -> bool:
        """Whether anything was touched since the last decision."""
        return bool(self._dirty) or (self._fit_anew and bool(self._everywhere or self._left_out))

    @property
    def touched(self) -> int:
        """How many tasks were touched since the last decision."""
        return len(self._dirty)

    def desired_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the desired state."""
        for key in changes:
            if key[0] == JOB:
                self._touch_job(key[1])
            elif key[0] == PLACEMENT:
                self._dirty.add(key[1])
                self.rooms.forget_those_of(self.desired.placements.get(key[1]))
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
                self.rooms.forget_those_of(value)

    def actual_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the actual state."""
        before = {key[1]: self.actual.agents.get(key[1]) for key in changes if key[0] == ACTUAL_AGENT}
        self.actual.apply(changes)
        for key in changes:
            if key[0] == CONTAINER:
                self.rooms.forget(key[1])
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
        self._woken = True
        self._dirty.update(self._failures.due(self._looked_at, now))
        self._looked_at = now
        if self.desired.under_way is not None:
            self._dirty.update(move.task for move in self.desired.under_way.moves)
        for name, agent in self.desired.agents.items():
            self._fit_anew |= agent.drain is not None
            if agent.lost_since is not None or agent.drain is not None:
                self._dirty.update(self.desired.by_agent.get(name, ()))

    def decide(self, now: float) -> Decisions:
        """Look at everything touched; what is decided counts as soon as the registry has written it.

        A lost agent that is back: which copies stay is written before the fact that it is back, since
        nothing is commanded there before that.
        """
        back = returned(self.desired, self.actual)
        for name in back:
            self._dirty.update(self.desired.by_agent.get(name, ()))
        left_out = self._left_out
        writes: list[Write] = [*self._places(now)]
        moves = self.desired.under_way or any(agent.drain for agent in self.desired.agents.values())
        self._moving = Moving(self.desired, self.actual, self.rooms.all(), now) if moves else None
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
        brake = self._lost.brake(self.desired, self.actual, now)
        writes += self._migrator.steps(
            self.desired, self.actual, self._failures, now, self._waiting, outage=brake is not None
        )
        writes += [MarkLost(agent=name, since=None) for name in back]
        writes += self._lost.lost(self.desired, self.actual, now)
        writes += ended_release(self.desired, self.actual)
        writes += ended_rebalance(self.desired, now)
        return Decisions(
            writes=tuple(writes),
            waiting=changed,
            brake=brake,
            staying=self._changed_staying(),
            left_out=_news(left_out, self._left_out),
        )

    def _changed_staying(self) -> dict[str, Staying | None]:
        """Why tasks of drained agents stay, where that has changed; told once all of them were looked at."""
        if not self._woken:
            return {}
        self._woken = False
        staying = self._moving.told() if self._moving is not None else {}
        news = _news(self._staying, staying)
        self._staying = staying
        return news

    def refused(self, writes: Iterable[Write]) -> None:
        """These writes lost against a change: forget that their rooms were taken, and look again."""
        for write in writes:
            self._fit_anew |= isinstance(write, WritePlaces)
            if not isinstance(write, WritePlacement):
                continue  # looked at again in any case, at the next waking
            self._dirty.add(write.task)
            for copy in write.copies:
                self.rooms.forget(copy.agent)

    def _judge(self, task: str, now: float) -> WritePlacement | None:
        """What to write for one task, or None: nothing, or it is noted as having no place."""
        placement = self.desired.placements.get(task)
        job = self.desired.jobs.get(task_prefix(task))
        wanted = self.desired.wanted(task)
        if not wanted:
            self._failures.forget(task)
        if placement is not None:
            return self._judge_placed(placement, wanted=wanted, now=now)
        if job is None or task_index(task) not in job.members:
            return None
        adopted = self._copies.adoptable(task)
        if not wanted:
            # Its job is kept and stopped, or not yet begun: what runs of it is ours, and is stopped; where
            # nobody has looked yet, too.
            unheard = self._copies.unknown_holders(job) if job.adopt and adopted else ()
            names = dict.fromkeys([*(copy.agent for copy in adopted), *unheard])
            stops = tuple(Copy(name, "stop") for name in names)
            return WritePlacement(task=task, expected=0, copies=stops) if stops else None
        # A copy on an agent that has not answered may be the better one to keep.
        if adopted and not self._copies.unknown_holders(job):
            return WritePlacement(task=task, expected=0, copies=self._copies.in_place(task, adopted))
        self._unplaced.setdefault(job.prefix, set()).add(task)
        return None

    def _judge_placed(self, placement: Placement, *, wanted: bool, now: float) -> WritePlacement | None:
        copies = tuple(copy for copy in placement.copies if not self._copies.is_gone(placement, copy))
        if wanted:
            copies = self._copies.back_to_returned(placement, copies) + self._copies.strays(placement)
            copies = self._without_given_up(placement, copies, now)
            copies = self._copies.in_place(placement.task, copies)
            if self._moving is not None:
                copies = self._moving.moved(placement, copies)
            if self._needs_another_place(placement.task, copies, now):
                self._unplaced.setdefault(task_prefix(placement.task), set()).add(placement.task)
        else:
            copies = tuple(Copy(copy.agent, "stop") for copy in copies)
        if copies == placement.copies:
            return None
        return WritePlacement(task=placement.task, expected=placement.generation, copies=copies)

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

    def _places(self, now: float) -> Iterator[WritePlaces]:
        """Which agents have a task of each version with scale `all`, where that has changed."""
        if not self._fit_anew:
            return
        self._fit_anew, self._left_out = False, {}
        for prefix in sorted(self._everywhere):
            job, rooms = self.desired.jobs[prefix], self.rooms.all()
            agents = fitting(job, self.desired, self.actual, rooms, now)
            why = left_out(job, set(agents), rooms)
            if why is not None:
                self._left_out[prefix] = why
            expected = named(job)
            if expected is None or agents != tuple(sorted(expected)):
                yield WritePlaces(prefix=prefix, agents=agents, expected=expected)

    def _needs_another_place(self, task: str, copies: tuple[Copy, ...], now: float) -> bool:
        """Whether it may run elsewhere, and all copies are on agents that are lost for too long for it."""
        if task_prefix(task) in self._everywhere:
            return False
        agents = [self.desired.agents.get(copy.agent) for copy in copies]
        return bool(agents) and all(
            agent is not None
            and not is_connected(self.actual, agent.name)
            and self._lost.is_over(agent, self.desired, task, now)
            for agent in agents
        )

    def _place(
        self, prefix: str, writes: list[Write], changed: dict[str, Waiting | None], now: float
    ) -> None:
        """Find room for the tasks of one version that have none, and say why for those that find none."""
        job = self.desired.jobs.get(prefix)
        tasks = sorted(self._unplaced.get(prefix, ()), key=task_index)
        waiting = None
        if job is not None and tasks:
            unknown = self._copies.unknown_holders(job)
            pausing = [task for task in tasks if self._failures.pauses(task, now)]
            blocked = list(unmet(job, self.desired, self.actual))
            ready = [] if unknown or blocked else [task for task in tasks if task not in pausing]
            placed = self.rooms.choose(job, ready, self._failures)
            writes.extend(self._placed(task, room) for task, room in placed.items())
            left = [task for task in tasks if task not in placed]
            self._unplaced[prefix] = set(left)
            if left:
                failures = [failure for task in pausing if (failure := self._failures.of(task))]
                waiting = (
                    reasons.unheard(prefix, len(left), unknown)
                    or reasons.depending(prefix, len(left), blocked)
                    or (reasons.pausing(prefix, len(left), failures) if len(pausing) == len(left) else None)
                    or explain(prefix, len(left), need_of_job(job), self.rooms.in_reach(job, left))
                )
        if not self._unplaced.get(prefix):
            self._unplaced.pop(prefix, None)
        if waiting != self._waiting.get(prefix):
            changed[prefix] = waiting
            if waiting is None:
                del self._waiting[prefix]
            else:
                self._waiting[prefix] = waiting

    def _placed(self, task: str, room: Room) -> WritePlacement:
        """The write that places a task; copies on lost agents stay, to be stopped when those return."""
        placement = self.desired.placements.get(task)
        old = tuple(Copy(copy.agent, "stop") for copy in placement.copies) if placement is not None else ()
        return WritePlacement(
            task=task,
            expected=placement.generation if placement is not None else 0,
            copies=(*old, Copy(room.agent, "run")),
        )

    def _touch_job(self, prefix: str) -> None:
        tasks = set(self.desired.by_prefix.get(prefix, ()))  # maybe beyond its scale
        job = self.desired.jobs.get(prefix)
        if job is not None:
            tasks.update(task_id(prefix, index) for index in job.members)
        if job is not None and job.config.everywhere:
            self._everywhere.add(prefix)
            self._fit_anew = True
        else:
            self._everywhere.discard(prefix)
        self._dirty |= tasks
        for task in tasks:
            self.rooms.forget_those_of(self.desired.placements.get(task))

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
        self.rooms.forget(name)
        self._fit_anew = True
        self._dirty.update(self.desired.by_agent.get(name, ()))
        self._touch_unplaced()

    def _touch_unplaced(self) -> None:
        for tasks in self._unplaced.values():
            self._dirty.update(tasks)


def _news(old: dict[str, _Told], new: dict[str, _Told]) -> dict[str, _Told | None]:
    """What is told now and was not, or otherwise; None for what is told no longer."""
    gone: dict[str, _Told | None] = dict.fromkeys(old.keys() - new.keys())
    return gone | {name: told for name, told in new.items() if told != old.get(name)}


def _matters(status: Any) -> tuple[Any, ...]:
    """The part of an agent's status that placements depend on; its reservations are not."""
    has = totals(status.resources) if status.resources is not None else None
    return status.link, status.answered, status.error, has
