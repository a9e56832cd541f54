"""A migration: one version of a job replaces another, step by step. Its rule, as a pure state machine.

The row in the registry says which tasks of each version are wanted now; a step changes that and is
written before anything acts on it, so a scheduler that dies leaves nothing half done. `advance` looks at
how the tasks stand and returns the next row. It may stop a task only while enough others are proven to
run (floor), and start one only while few enough may be running (ceiling); what is unknown counts as down
for the floor and as up for the ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from scheduling.job import JobKey
from scheduling.update import Limits


class State(StrEnum):
    """Where a migration stands. `failed` waits for its operator; the last three are ends."""

    RUNNING = "running"
    REVERTING = "reverting"
    FAILED = "failed"
    DONE = "done"
    REVERTED = "reverted"
    ENDED = "ended"


class Input(StrEnum):
    """What leads from one state to another; pausing and promoting change none."""

    FINISH = "finish"
    GIVE_UP = "give up"
    REVERT = "revert"
    RESUME = "resume"
    END = "end"


ENDS = frozenset({State.DONE, State.REVERTED, State.ENDED})
# `end`: one of its versions was unscheduled meanwhile, and the other remains as it is.
NEXT: dict[tuple[State, Input], State | None] = {
    (State.RUNNING, Input.FINISH): State.DONE,
    (State.RUNNING, Input.GIVE_UP): State.FAILED,
    (State.RUNNING, Input.REVERT): State.REVERTING,
    (State.RUNNING, Input.RESUME): State.RUNNING,
    (State.RUNNING, Input.END): State.ENDED,
    (State.REVERTING, Input.FINISH): State.REVERTED,
    (State.REVERTING, Input.GIVE_UP): None,
    (State.REVERTING, Input.REVERT): None,
    (State.REVERTING, Input.RESUME): State.REVERTING,
    (State.REVERTING, Input.END): State.ENDED,
    (State.FAILED, Input.FINISH): None,
    (State.FAILED, Input.GIVE_UP): None,
    (State.FAILED, Input.REVERT): State.REVERTING,
    (State.FAILED, Input.RESUME): State.RUNNING,
    (State.FAILED, Input.END): State.ENDED,
    **{(state, said): None for state in sorted(ENDS) for said in Input},
}
assert set(NEXT) == {(state, said) for state in State for said in Input}, "the table must be total"  # noqa: S101


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """One job on its way from version `old` to version `new` (both prefixes).

    `old_wanted`, `new_wanted`: the tasks of each that are meant to run now, by index, ascending.
    `generation`: the registry's version at the last write; writers name the one they have seen.
    `begun_at`, `tried_at`: when it was begun, and last resumed after it had failed; `progress_at`: when
    something last went forward; seconds since 1970. `reason`: why it goes back,
    failed or ended.
    """

    id: str
    key: JobKey
    old: str
    new: str
    old_hash: str
    new_hash: str
    old_scale: int
    new_scale: int
    limits: Limits
    old_wanted: tuple[int, ...]
    new_wanted: tuple[int, ...] = ()
    state: State = State.RUNNING
    paused: bool = False
    promoted: bool = False
    reason: str = ""
    begun_at: float = 0.0
    tried_at: float = 0.0
    progress_at: float = 0.0
    generation: int = 0

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self.state in ENDS

    @property
    def awaits_promotion(self) -> bool:
        """Whether its canaries are all that may be started for now."""
        return self.state is State.RUNNING and self.limits.canary > 0 and not self.promoted

    def wanted(self, prefix: str) -> tuple[int, ...]:
        """The wanted indices of one of its versions."""
        return self.old_wanted if prefix == self.old else self.new_wanted


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How the tasks of one version stand, each by its index.

    `there`: those with a row, a copy that may exist on an agent that is not lost. `running`: proven to
    run, on an agent that is heard. `down`: proven not to run. What is in neither is unknown. `healthy`:
    running for long enough. `failed`: index → why it can't run. `obstacle`: what keeps those
    that are wanted from being healthy, as far as it is known. `members`: those that the version has when
    it is complete; None for as many as its scale.
    """

    there: frozenset[int] = frozenset()
    running: frozenset[int] = frozenset()
    down: frozenset[int] = frozenset()
    healthy: frozenset[int] = frozenset()
    failed: dict[int, str] = {}
    obstacle: str = ""
    members: frozenset[int] | None = None


def moved(migration: Migration, said: Input, **changes: object) -> Migration:
    """The migration after this input. Raises ValueError, and changes nothing, where there is no way."""
    state = NEXT[migration.state, said]
    if state is None:
        raise ValueError(f"migration {migration.id} is {migration.state}; it can't {said}")
    return msgspec.structs.replace(migration, state=state, **changes)


def advance(
    migration: Migration, old: Standing, new: Standing, now: float, progress_at: float
) -> Migration | None:
    """The next row of a migration, or None while it has to wait.

    `progress_at`: when something last went forward as far as the caller has seen; the time before it
    could watch does not count against the deadline.
    """
    if migration.paused or migration.over or migration.state is State.FAILED:
        return None
    if migration.state is State.REVERTING:
        return _backward(migration, old, new, now)
    trouble = _trouble(migration, new, now, progress_at)
    if trouble:
        said = Input.REVERT if migration.limits.auto_revert else Input.GIVE_UP
        return moved(migration, said, reason=trouble, progress_at=now)
    return _forward(migration, old, new, now)


def _trouble(migration: Migration, new: Standing, now: float, progress_at: float) -> str:
    """Why a migration can't succeed; empty while it may."""
    for index in sorted(new.failed):
        return new.failed[index]
    everything = _all(new, migration.new_scale)
    waits = migration.awaits_promotion and _first(everything, migration.limits.canary) <= new.healthy
    # All of the new version is good: it is not given up because an old task is slow to go.
    waits = waits or everything <= new.healthy
    if not waits and now - progress_at > migration.limits.deadline_seconds:
        why = f": {new.obstacle}" if new.obstacle else ""
        return f"nothing went forward for {migration.limits.deadline_seconds:g} s{why}"
    return ""


def _forward(migration: Migration, old: Standing, new: Standing, now: float) -> Migration | None:
    limits = migration.limits
    everything = _all(new, migration.new_scale)
    if _complete(migration.new_wanted, everything & new.healthy, everything, migration.old_wanted, old.there):
        return moved(migration, Input.FINISH, progress_at=now)
    canaries = _first(everything, limits.canary)
    if migration.awaits_promotion and limits.auto_promote and canaries <= new.healthy:
        return msgspec.structs.replace(migration, promoted=True, progress_at=now)
    wanted = _started(migration, old, new)
    kept = _kept(migration, old, new, wanted)
    if (kept, wanted) == (set(migration.old_wanted), set(migration.new_wanted)):
        return None
    return _stepped(migration, kept, wanted, now)


def _started(migration: Migration, old: Standing, new: Standing) -> set[int]:
    """Which tasks of the new version are wanted: those that are, and as many more as may be started."""
    limits, wanted = migration.limits, set(migration.new_wanted)
    budget = limits.ceiling - _occupied(old, migration.old_wanted) - _occupied(new, migration.new_wanted)
    if migration.awaits_promotion:
        budget = min(budget, limits.canary - len(wanted))
    elif limits.strategy != "blue_green":
        budget = min(budget, limits.max_parallel - _in_transit(old, migration.old_wanted, new, wanted))
    left = _all(new, migration.new_scale) - wanted
    if new.members is not None:
        return wanted | _vacant_first(left, old, migration.old_wanted, budget)
    return wanted | _first(left, budget)


def _kept(migration: Migration, old: Standing, new: Standing, new_wanted: set[int]) -> set[int]:
    """Which tasks of the old version stay wanted, once as many were stopped as may be."""
    limits, kept = migration.limits, set(migration.old_wanted)
    if migration.awaits_promotion:
        return kept
    budget = limits.max_parallel - _in_transit(old, migration.old_wanted, new, new_wanted)
    if limits.strategy == "blue_green":
        budget = len(kept) if _all(new, migration.new_scale) <= new.healthy else 0
    return kept - _stoppable(old, kept, len(new.healthy & new_wanted), limits.floor, budget)


def _backward(migration: Migration, old: Standing, new: Standing, now: float) -> Migration | None:
    """The old version is brought back as far as it is gone, and the new one goes, in one stride each.

    It is done once the old version is wanted as a whole and the new one is gone, whether or not the old
    one is well: it is the version from before, and better a third one than none.
    """
    everything = _all(old, migration.old_scale)
    if _complete(migration.old_wanted, everything, everything, migration.new_wanted, new.there):
        return moved(migration, Input.FINISH, progress_at=now)
    wanted = set(migration.old_wanted)
    budget = (
        migration.limits.ceiling - _occupied(old, migration.old_wanted) - _occupied(new, migration.new_wanted)
    )
    if old.members is not None:
        wanted |= _vacant_first(everything - wanted, new, migration.new_wanted, budget)
    else:
        wanted |= _first(everything - wanted, budget)
    kept = set(migration.new_wanted)
    # Not all that runs for a moment: the good ones do not go for such as end at once.
    enough = len(old.healthy & wanted)
    kept -= _stoppable(new, kept, enough, migration.limits.floor, len(kept))
    if (wanted, kept) == (set(migration.old_wanted), set(migration.new_wanted)):
        return None
    return _stepped(migration, wanted, kept, now)


def _stoppable(standing: Standing, wanted: set[int], others: int, floor: int, budget: int) -> set[int]:
    """Which of the wanted tasks may be stopped: those that are down first, then while enough run.

    `others`: how many tasks of the other version are proven to run, or to be healthy.
    """
    running = others + len(standing.running & wanted)
    chosen: set[int] = set()
    for index in sorted(wanted, key=lambda each: (each not in standing.down, each in standing.running, each)):
        if len(chosen) >= budget:
            break
        if index not in standing.down:
            if running - 1 < floor:
                break
            running -= 1
        chosen.add(index)
    return chosen


def _in_transit(
    source: Standing, source_wanted: Iterable[int], target: Standing, target_wanted: set[int]
) -> int:
    """How many tasks are on their way: being stopped, or wanted and not healthy yet.

    With scale `all` the task of a lost agent has nowhere else to go: it is not on its way.
    """
    coming = target_wanted if target.members is None else target_wanted & target.members
    return len(source.there - set(source_wanted)) + len(coming - target.healthy)


def _occupied(standing: Standing, wanted: Iterable[int]) -> int:
    """How many tasks of a version may be running, now or soon."""
    return len(standing.there | set(wanted))


def _complete(
    target_wanted: tuple[int, ...],
    good: frozenset[int],
    everything: frozenset[int],
    source_wanted: tuple[int, ...],
    source_there: frozenset[int],
) -> bool:
    return everything <= set(target_wanted) and everything == good and not source_wanted and not source_there


def _stepped(migration: Migration, old_wanted: set[int], new_wanted: set[int], now: float) -> Migration:
    return msgspec.structs.replace(
        migration,
        old_wanted=tuple(sorted(old_wanted)),
        new_wanted=tuple(sorted(new_wanted)),
        progress_at=now,
    )


def _first(indices: frozenset[int] | set[int], count: int) -> set[int]:
    return set(sorted(indices)[: max(0, count)])


def _vacant_first(
    indices: frozenset[int] | set[int], other: Standing, other_wanted: Iterable[int], count: int
) -> set[int]:
    """So many of these tasks: those first whose agents have no task of the other version, or soon have none.

    With scale `all` one index is one agent in both versions; beside the other task its port may be taken.
    """
    stays = set(other_wanted)
    order = sorted(indices, key=lambda index: (index in stays, index in other.there, index))
    return set(order[: max(0, count)])


def _all(standing: Standing, scale: int) -> frozenset[int]:
    return frozenset(range(scale)) if standing.members is None else standing.members
