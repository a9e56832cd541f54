"""Protections of migrations, to switch off."""

from __future__ import annotations

from typing import Any

from scheduling import migrating, migration, migrator, registry
from scheduling.answer import Answer
from scheduling.desired import Desired
from scheduling.migrating import StepMigration
from scheduling.migration import Migration, Standing
from scheduling.replica import Changes
from scheduling.standing import standing
from simulation.switches import Mutation, aimed

_REAL_STOPPABLE = migration._stoppable
_REAL_STEP = migrating.step


def _stoppable_whatever_runs(
    standing: Standing, wanted: set[int], others: int, _floor: int, budget: int
) -> set[int]:
    return _REAL_STOPPABLE(standing, wanted, others, -1, budget)


def _stepped_whatever_was_expected(
    desired: Desired, mutation: StepMigration, version: int
) -> tuple[Answer, Changes]:
    before = desired.migrations.get(mutation.migration.id)
    seen = mutation.expected if before is None else before.generation
    return _REAL_STEP(desired, StepMigration(migration=mutation.migration, expected=seen), version)


def _standing_with_the_unknown_down(*arguments: Any, **named: Any) -> Standing:
    stands = _REAL_STANDING(*arguments, **named)
    down = (stands.there | stands.down) - stands.running
    return Standing(there=stands.there, running=stands.running, down=down, healthy=stands.healthy)


_REAL_STANDING = standing


def _never_in_trouble(_migration: Migration, _new: Standing, _now: float, _progress_at: float) -> str:
    return ""


MIGRATION_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="a migration keeps its floor",
        patches=((migration, "_stoppable", _stoppable_whatever_runs),),
        profile=aimed("agent hangs", "task exits", requests=(20, 40)),
    ),
    Mutation(
        name="a migration keeps its ceiling",
        patches=((migration, "_occupied", lambda _standing, wanted: len(set(wanted))),),
        profile=aimed("agent hangs", requests=(20, 40)),
    ),
    Mutation(
        name="what is unknown is not down",
        patches=((migrator, "standing", _standing_with_the_unknown_down),),
        profile=aimed("network is cut", "agent hangs", requests=(20, 40)),
    ),
    Mutation(
        name="steps of migrations are written by compare-and-set",
        patches=((registry, "_RULES", {**registry._RULES, StepMigration: _stepped_whatever_was_expected}),),
        profile=aimed("scheduler", "registry hangs", requests=(20, 40)),
    ),
    Mutation(
        name="a migration that makes no progress is given up",
        patches=((migration, "_trouble", _never_in_trouble),),
        profile=aimed("artifacts", "starts fail", requests=(20, 40)),
    ),
)
