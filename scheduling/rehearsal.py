"""A job's change acted out on a copy of both states, by the rules, with agents that obey at once."""

from __future__ import annotations

from random import Random

import msgspec

from config.bounds import PLAN_ROUNDS
from scheduling.actual import CONTAINER, Actual, ContainerReport
from scheduling.container import RUNNING, ContainerInstance, ProcessState
from scheduling.desired import MIGRATION, PLACEMENT, Copy, Desired, Placement
from scheduling.everywhere import WritePlaces
from scheduling.job import JobKey, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.migrating import StepMigration
from scheduling.migration import Migration
from scheduling.placement import Algorithm
from scheduling.registry import WritePlacement, judge
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler, Write
from scheduling.waiting import Waiting

# So many rounds without a write mean that nothing more will come: one in which tasks are seen to run, and
# one in which they have run for long enough.
_CALM_ROUNDS = 3
# So many strides take a migration to its end, where a plan would have to look too far ahead.
STRIDES = 20


class Rehearsal:
    """Two copies and the scheduler's rule at work on them; of other jobs nothing moves."""

    def __init__(
        self,
        key: JobKey,
        desired: Desired,
        actual: Actual,
        algorithm: Algorithm,
        version: int,
        now: float,
    ) -> None:
        self._key = key
        # The same lots each time: a plan that is asked for again is the same plan.
        rng = Random(0)  # noqa: S311 - placement, not secrets
        self._scheduler = Scheduler(algorithm, rng, desired=desired.copy(), actual=actual.copy())
        self._version = version
        self._now = now
        self._prefixes = {job.prefix for job in desired.versions(key)}
        self._why: dict[str, Waiting | None] = {}
        self._left_out: dict[str, Waiting | None] = {}

    @property
    def desired(self) -> Desired:
        """The desired state as it has become."""
        return self._scheduler.desired

    def run(self, changes: Changes) -> bool:
        """Go on from these changes until nothing moves; False when something is still under way then."""
        self._apply(changes)
        calm = 0
        for _ in range(PLAN_ROUNDS):
            self._scheduler.wake(self._now)
            decisions = self._scheduler.decide(self._now)
            self._why.update(decisions.waiting)
            self._left_out.update(decisions.left_out)
            ours = [write for write in decisions.writes if self._is_ours(write)]
            for write in ours:
                answer, brought = judge(self.desired, write, self._version + 1, now=self._now)
                if answer.accepted:
                    self._apply(brought)
            calm = 0 if ours else calm + 1
            if calm >= _CALM_ROUNDS:
                return not self._under_way()
            self._promote()
            self._now += 1.0 + max(
                (each.limits.min_healthy_seconds for each in self._under_way()), default=0.0
            )
        return False

    def waiting(self) -> tuple[Waiting, ...]:
        """Why tasks of the job wait in the end."""
        return self._told(self._why)

    def left_out(self) -> tuple[Waiting, ...]:
        """With scale `all`: why agents have no task of the job in the end."""
        return self._told(self._left_out)

    def _told(self, reasons: dict[str, Waiting | None]) -> tuple[Waiting, ...]:
        prefixes = {job.prefix for job in self.desired.versions(self._key)}
        return tuple(why for prefix, why in sorted(reasons.items()) if why is not None and prefix in prefixes)

    def _is_ours(self, write: Write) -> bool:
        if isinstance(write, StepMigration):
            return write.migration.key == self._key
        if isinstance(write, WritePlaces):
            return write.prefix in self._prefixes
        return isinstance(write, WritePlacement) and task_prefix(write.task) in self._prefixes

    def _under_way(self) -> list[Migration]:
        return [row for row in self.desired.migrations.values() if row.key == self._key and not row.over]

    def _promote(self) -> None:
        """A canary that is good is promoted."""
        for row in self._under_way():
            if row.awaits_promotion and len(row.new_wanted) >= row.limits.canary:
                self._apply({(MIGRATION, row.id): msgspec.structs.replace(row, promoted=True)})

    def _apply(self, changes: Changes) -> None:
        """Changes of the desired state, and what agents make of the placements in them."""
        self._version += 1
        obeyed: Changes = {}
        for key, value in changes.items():
            if key[0] == PLACEMENT:
                before = self.desired.placements.get(key[1])
                obeyed |= {
                    (CONTAINER, copy.agent, key[1]): None for copy in (before.copies if before else ())
                }
                for copy in value.copies if value is not None else ():
                    obeyed[CONTAINER, copy.agent, key[1]] = self._obeyed(value, copy)
        self._scheduler.desired_changed(changes)
        self._prefixes |= {job.prefix for job in self.desired.versions(self._key)}
        self._scheduler.actual_changed(obeyed)

    def _obeyed(self, row: Placement, copy: Copy) -> ContainerReport | None:
        """What an agent reports once it has done what a row says; one that is not heard does nothing."""
        job = self.desired.jobs.get(task_prefix(row.task))
        if not is_connected(self._scheduler.actual, copy.agent):
            return self._scheduler.actual.report(copy.agent, row.task)
        instance = None
        if copy.intent == "run" and job is not None:
            instance = ContainerInstance(
                container_id=row.task,
                status=RUNNING,
                config=job.config.container(),
                process_state=ProcessState(up=True),
            )
        return ContainerReport(
            agent=copy.agent,
            task=row.task,
            phase=Phase.RUNNING if instance is not None else Phase.ABSENT,
            goal=copy.intent,
            generation=row.generation,
            instance=instance,
        )


def in_strides(changes: Changes) -> Changes:
    """The same changes, with a migration that takes many tasks at a time where its policy takes few."""
    hurried = dict(changes)
    for key, row in changes.items():
        if key[0] == MIGRATION and row is not None:
            larger = max(row.old_scale, row.new_scale)
            stride = max(row.limits.max_parallel, larger // STRIDES)
            more = stride - row.limits.max_parallel if row.limits.ceiling > larger else 0
            floor = row.limits.floor if more else max(0, row.limits.floor - stride)
            hurried[key] = msgspec.structs.replace(
                row,
                limits=msgspec.structs.replace(
                    row.limits, max_parallel=stride, ceiling=row.limits.ceiling + more, floor=floor
                ),
            )
    return hurried
