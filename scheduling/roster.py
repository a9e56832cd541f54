"""Who is at work: the actors, as those who made them see them and publish it."""

from __future__ import annotations

from typing import Any

import msgspec

ACTOR = "actor"


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One actor: where it is (an opaque address), its process, how often it was made anew, and since when.

    `since` is in seconds since 1970; `up` is false while it waits to be made anew, which is tried at
    `next_at`. `deaths`: how often it has died without living long enough in between to count as recovered.
    `trouble`: it lives, and what it can't do for now, and why; empty when all is well.
    """

    name: str
    address: Any
    pid: int
    restarts: int
    since: float
    up: bool
    trouble: str = ""
    deaths: int = 0
    next_at: float | None = None


class ChildStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A child that has died: how often lately, when it is made anew (None: it lives), since when it lives.

    Times are seconds since 1970.
    """

    name: str
    deaths: int
    next_at: float | None
    made_at: float


class NurseryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The children of one actor, all of one `kind`: how often any was made anew, and which have died."""

    kind: str
    restarts: int
    children: tuple[ChildStatus, ...]
