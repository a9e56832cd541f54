"""The scheduler's part in migrations: sees how their tasks stand, and says which steps to write.

Remembers since when tasks run and when each migration last went forward; a new scheduler begins to watch
anew, so the time in which nobody watched makes nothing healthy and lets no deadline pass.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from scheduling.actual import Actual
from scheduling.desired import Desired, Job
from scheduling.everywhere import members_there
from scheduling.failures import Failures
from scheduling.job import task_id
from scheduling.migrating import StepMigration
from scheduling.migration import Migration, Standing, advance
from scheduling.standing import Health, failing, obstacle, standing
from scheduling.waiting import Waiting

# What must change for a migration to have gone forward.
_Mark = tuple[object, ...]


class Migrator:
    """Looks at the migrations under way. Times are seconds since 1970, given."""

    def __init__(self) -> None:
        self._health = Health()
        self._progress: dict[str, tuple[_Mark, float]] = {}

    def steps(
        self,
        desired: Desired,
        actual: Actual,
        failures: Failures,
        now: float,
        waiting: Mapping[str, Waiting] = {},
        *,
        outage: bool = False,
    ) -> list[StepMigration]:
        """The steps that are due. `waiting`: by version, why tasks of it have no place.

        `outage`: the brake holds; nothing can go forward then, and no version is to blame.
        """
        under_way = [desired.migrations[name] for name in sorted(set(desired.migrating.values()))]
        self._forget_all_but(under_way, desired)
        steps = []
        for migration in under_way:
            if any(_is_unsized(desired.jobs.get(prefix)) for prefix in (migration.old, migration.new)):
                continue
            old = self._standing(migration, migration.old, desired, actual, now)
            new = self._standing(migration, migration.new, desired, actual, now)
            since = max(migration.begun_at, migration.tried_at)
            ill = tuple(index for index in migration.new_wanted if index not in new.healthy)
            failed = failing(
                migration.new,
                ill,
                desired,
                actual,
                failures,
                self._health,
                since,
                resumed=migration.tried_at > migration.begun_at,
            )
            why = waiting.get(migration.new)
            hindered = why.reason if why else obstacle(migration.new, ill, desired, actual, failures)
            new = msgspec.structs.replace(new, failed=failed, obstacle=hindered)
            if outage:
                self._progress.pop(migration.id, None)
            stepped = advance(migration, old, new, now, self._progress_at(migration, old, new, now))
            if stepped is not None:
                steps.append(StepMigration(migration=stepped, expected=migration.generation))
        return steps

    def _standing(
        self, migration: Migration, prefix: str, desired: Desired, actual: Actual, now: float
    ) -> Standing:
        stands = standing(
            prefix,
            migration.wanted(prefix),
            desired,
            actual,
            self._health,
            min_healthy_seconds=migration.limits.min_healthy_seconds,
            now=now,
        )
        members = members_there(desired.jobs[prefix], desired) if prefix in desired.jobs else None
        return msgspec.structs.replace(stands, members=members) if members is not None else stands

    def _progress_at(self, migration: Migration, old: Standing, new: Standing, now: float) -> float:
        mark = (migration.generation, new.healthy, old.there, migration.paused)
        seen = self._progress.get(migration.id)
        if seen is None or seen[0] != mark:
            seen = self._progress[migration.id] = (mark, now)
        return seen[1]

    def _forget_all_but(self, under_way: list[Migration], desired: Desired) -> None:
        if len(self._progress) > len(under_way):
            known = {migration.id for migration in under_way}
            for name in [name for name in self._progress if name not in known]:
                del self._progress[name]
            prefixes = {prefix for row in under_way for prefix in (row.old, row.new)}
            kept = {
                task_id(prefix, index)
                for prefix in prefixes
                if prefix in desired.jobs
                for index in desired.jobs[prefix].members
            }
            self._health.forget_all_but(kept)


def _is_unsized(job: Job | None) -> bool:
    """Whether nobody has said yet which agents fit a version with scale `all`."""
    return job is not None and job.config.everywhere and job.places is None
