"""Who keeps dying among the actors: restarts and pauses by kind, from the roster and the actual state.

Three kinds: `actor` (made by the supervisor), `flock` (by the shepherd), `state_machine` (by its flock).
"""

from __future__ import annotations

import msgspec

from config.bounds import MOST_TROUBLED_SHOWN, RECOVERED_SECONDS
from scheduling.roster import ChildStatus, NurseryStatus
from web.cluster import ClusterState

KINDS = ("actor", "flock", "state_machine")


class TroubledView(msgspec.Struct, frozen=True, kw_only=True):
    """One that has died lately, and how often in a row; made anew in so many seconds (null: it lives)."""

    name: str
    deaths: int
    next_seconds: float | None


class KindView(msgspec.Struct, frozen=True, kw_only=True):
    """All of one kind: `next_seconds` until the first of those `waiting` is made anew, null if none waits.

    `troubled` counts those that have died lately; `names` are the first of them, who waits longest first.
    """

    kind: str
    restarts: int
    waiting: int
    next_seconds: float | None
    troubled: int
    names: list[TroubledView]


def supervision(state: ClusterState, now: float) -> list[KindView]:
    """How the supervised of each kind are doing at `now`, in seconds since 1970."""
    found: dict[str, list[NurseryStatus]] = {kind: [] for kind in KINDS}
    for nursery in (_supervisor(state), *state.actual.nurseries.values()):
        found.setdefault(nursery.kind, []).append(nursery)
    return [_kind(kind, nurseries, now) for kind, nurseries in found.items()]


def _supervisor(state: ClusterState) -> NurseryStatus:
    """The roster in the form of the others."""
    actors = [actor for actor in state.roster.values() if actor.restarts]
    return NurseryStatus(
        kind="actor",
        restarts=sum(actor.restarts for actor in actors),
        children=tuple(
            ChildStatus(
                name=actor.name,
                deaths=actor.deaths,
                next_at=None if actor.up else actor.next_at or actor.since,
                made_at=actor.since,
            )
            for actor in actors
        ),
    )


def _kind(kind: str, nurseries: list[NurseryStatus], now: float) -> KindView:
    children = [child for nursery in nurseries for child in nursery.children if _is_troubled(child, now)]
    pauses = [max(child.next_at - now, 0.0) for child in children if child.next_at is not None]
    children.sort(key=lambda child: (-(child.next_at or 0.0), -child.deaths, child.name))
    return KindView(
        kind=kind,
        restarts=sum(nursery.restarts for nursery in nurseries),
        waiting=len(pauses),
        next_seconds=round(min(pauses), 3) if pauses else None,
        troubled=len(children),
        names=[
            TroubledView(
                name=child.name,
                deaths=child.deaths,
                next_seconds=None if child.next_at is None else round(max(child.next_at - now, 0.0), 3),
            )
            for child in children[:MOST_TROUBLED_SHOWN]
        ],
    )


def _is_troubled(child: ChildStatus, now: float) -> bool:
    """Whether it waits to be made anew, or has not lived long enough since to count as recovered."""
    return child.next_at is not None or now - child.made_at <= RECOVERED_SECONDS
