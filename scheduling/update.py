"""How a job is brought from one version to another: its update policy, and the limits that follow from it.

A policy says what its owner means ("rolling, two at a time"); the limits are numbers for two given
scales. Policies whose numbers can't work are refused before anything is begun.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import msgspec

from scheduling.canonical import GoStruct
from scheduling.durations import Duration

Strategy = Literal["rolling", "blue_green", "canary", "in_place"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


class Update(GoStruct, frozen=True, kw_only=True):
    """The `update` policy of a job; policy, so changing it restarts nothing.

    `max_parallel` tasks change at once. At least `floor` tasks run all the time (default: as many as the
    smaller version has, where there is room for more than that, else `max_parallel` fewer). At most
    `surge` tasks run beyond the larger version's scale (default: `max_parallel`; `in_place` has none,
    `blue_green` all). A task counts as good once it has run for `min_healthy_time`. `canary` so many
    tasks go first, and the rest follows when somebody promotes them, or by itself with `auto_promote`.
    Without any progress for `progress_deadline` the migration has failed; then, with `auto_revert`, the
    old version is brought back.
    """

    strategy: str = "rolling"
    max_parallel: int = 1
    floor: int | None = None
    surge: int | None = None
    canary: int = 1
    auto_promote: bool = False
    auto_revert: bool = True
    min_healthy_time: Duration = Duration(5_000_000_000)
    progress_deadline: Duration = Duration(300_000_000_000)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in numbers for one migration. `canary` 0: none. Times are seconds."""

    strategy: Strategy
    max_parallel: int
    floor: int
    ceiling: int
    canary: int = 0
    auto_promote: bool = False
    auto_revert: bool = True
    min_healthy_seconds: float = 5.0
    deadline_seconds: float = 300.0


class UnworkableError(ValueError):
    """A policy that can never bring one version to the other; the text says why and what would be right."""


def limits(update: Update, old_scale: int, new_scale: int, *, everywhere: bool = False) -> Limits:
    """What a policy means for these scales. Raises UnworkableError.

    `update` has no problem that `validation.problems` would name. `everywhere`: each task has its own agent,
    so by default the old one goes before the new one comes.
    """
    if everywhere and update.strategy == "rolling" and update.surge is None:
        update = msgspec.structs.replace(update, surge=0)
    smaller, larger = min(old_scale, new_scale), max(old_scale, new_scale)
    surge = surge_of(update, smaller)
    ceiling = larger + surge
    floor = update.floor
    if floor is None:
        floor = smaller if ceiling > smaller and surge else max(0, smaller - update.max_parallel)
    canaries = min(update.canary, new_scale) if update.strategy == "canary" else 0
    for why in _unworkable(update, floor, smaller, ceiling):
        raise UnworkableError(why)
    if canaries > ceiling - old_scale:
        raise UnworkableError(
            f"{canaries} canaries run beside all {old_scale} old tasks until they are promoted, but "
            f"no more than {ceiling} may run; allow an update.surge of {canaries + old_scale - larger}"
        )
    return Limits(
        strategy=_strategy(update.strategy),
        max_parallel=update.max_parallel,
        floor=floor,
        ceiling=ceiling,
        canary=canaries,
        auto_promote=update.auto_promote,
        auto_revert=update.auto_revert,
        min_healthy_seconds=update.min_healthy_time.seconds,
        deadline_seconds=update.progress_deadline.seconds,
    )


def limits_for(limits: Limits, before: tuple[int, int], after: tuple[int, int]) -> Limits:
    """The same limits when the versions have other scales by now, since agents came or went.

    The floor only gets lower: what it was thought to be may be out of reach now.
    """
    surge = limits.ceiling - max(before)
    floor = min(after) - (0 if surge else limits.max_parallel)
    ceiling = max(after) + (min(after) if limits.strategy == "blue_green" else surge)
    return msgspec.structs.replace(
        limits,
        floor=max(0, min(limits.floor, floor)),
        ceiling=max(1, ceiling),
        canary=min(limits.canary, after[1]),
    )


def surge_of(update: Update, smaller: int) -> int:
    """How many tasks may run beyond the larger version's scale, where the smaller version has so many."""
    if update.strategy == "blue_green":
        return smaller
    if update.surge is not None:
        return update.surge
    if update.strategy == "in_place":
        return 0
    canaries = update.canary if update.strategy == "canary" else 0
    if update.floor is not None and update.floor < smaller:
        return canaries  # fewer may run, so nothing else needs to run twice
    return max(update.max_parallel, canaries)


def contradictions(update: Update) -> Iterator[tuple[str, int | str, str]]:
    """What can't work whatever the scales: the field, its value, and what would be right."""
    if update.progress_deadline <= update.min_healthy_time:
        good_after = update.min_healthy_time
        right = f"a task counts as good only after {good_after} (min_healthy_time), so it must be longer"
        yield "update.progress_deadline", str(update.progress_deadline), right
    if update.strategy == "in_place" and update.surge:
        right = "in_place stops a task before it starts the next, so it must be 0 (or choose rolling)"
        yield "update.surge", update.surge, right
    if update.strategy == "blue_green" and update.surge is not None:
        right = "blue_green starts the whole new version beside the old, so leave it out (or choose rolling)"
        yield "update.surge", update.surge, right


def _unworkable(update: Update, floor: int, smaller: int, ceiling: int) -> Iterator[str]:
    for field, value, right in contradictions(update):
        yield f"{field} is {value}; {right}"
    if floor > smaller:
        yield f"update.floor is {floor}, but one of the versions has just {smaller} tasks; at most that many"
    if floor >= ceiling:
        yield (
            f"update.floor is {floor} and no more than {ceiling} tasks may run, so none could ever be "
            f"replaced; lower floor to {ceiling - 1}, or allow a surge of 1"
        )


def _strategy(name: str) -> Strategy:
    for strategy in STRATEGIES:
        if strategy == name:
            return strategy
    raise UnworkableError(f'update.strategy is "{name}"; it must be one of {", ".join(STRATEGIES)}')
