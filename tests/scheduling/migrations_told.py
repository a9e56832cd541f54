"""What stories tell of migrations: the words that begin and steer one, and how its rows read."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from scheduling.answer import Answer
from scheduling.desired import MIGRATION, Desired
from scheduling.job import JobConfig
from scheduling.jobs import fresh_prefix
from scheduling.migrating import Action, PutJob, RestartJob, SteerMigration
from scheduling.migration import Migration
from scheduling.registry import Mutation
from scheduling.replica import Changes
from scheduling.update import Update


class MigrationsTold:
    """The part of a story that is about migrations. Each version has a name in it: web, then web2."""

    registry: Desired
    version: int
    jobs: dict[str, JobConfig]
    prefixes: dict[str, str]

    def ask(self, mutation: Mutation) -> Answer:
        raise NotImplementedError

    def tell(self, line: str) -> None:
        raise NotImplementedError

    def migrate(self, old: str, new: str, scale: str = "", needs: str = "", **policy: str) -> None:
        """A user gives a job another config, told of as version `new`; policy: see `_update`."""
        before = self.jobs[old]
        config = msgspec.structs.replace(
            before,
            scale=int(scale or before.scale),
            env={"VERSION": new},
            depends_on=needs.split(",") if needs else before.depends_on,
        )
        self.jobs[new] = config
        self.prefixes[new] = fresh_prefix(self.registry, config)
        self.ask(PutJob(config=config, update=_update(policy)))

    def restart(self, old: str, new: str, **policy: str) -> None:
        """A user restarts a job; its new tasks are told of as version `new`."""
        self.jobs[new] = self.jobs[old]
        self.prefixes[new] = fresh_prefix(self.registry, self.jobs[old])
        self.ask(RestartJob(key=self.jobs[old].key, update=_update(policy)))

    def operator_says(self, action: Action) -> None:
        """The operator of the last migration pauses, resumes, aborts or promotes it."""
        self.ask(SteerMigration(id=self.last_migration().id, action=action))

    def last_migration(self) -> Migration:
        """The one that was begun last."""
        return max(self.registry.migrations.values(), key=lambda row: int(row.id.removeprefix("m-")))

    def tell_migrations(self, changes: Changes) -> None:
        """Each new row in a line: which tasks of which version are wanted from now on."""
        for key, row in changes.items():
            if key[0] == MIGRATION and row is not None:
                words = [
                    row.state,
                    *(["paused"] if row.paused else []),
                    *(["promoted"] if row.promoted else []),
                ]
                wants = f"{row.old} {_indices(row.old_wanted)}, {row.new} {_indices(row.new_wanted)}"
                why = f" ({row.reason})" if row.reason else ""
                self.tell(f"registry #{self.version}: {' '.join(words)}{why}: {wants}")


def _update(policy: dict[str, str]) -> Update | None:
    """`strategy=`, `parallel=`, `floor=`, `surge=`, `canary=`; `auto=` any of promote and norevert."""
    if not policy:
        return None
    auto = policy.get("auto", "").split(",")
    return Update(
        strategy=policy.get("strategy", "rolling"),
        max_parallel=int(policy.get("parallel", 1)),
        floor=int(policy["floor"]) if "floor" in policy else None,
        surge=int(policy["surge"]) if "surge" in policy else None,
        canary=int(policy.get("canary", 1)),
        auto_promote="promote" in auto,
        auto_revert="norevert" not in auto,
    )


def _indices(wanted: Iterable[int]) -> str:
    return "+".join(map(str, wanted)) or "none"
