"""Who is at work: the actors, as the supervisor sees them and publishes it."""

from __future__ import annotations

from typing import Any

import msgspec

ACTOR = "actor"


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One actor: where it is (an opaque address), its process, how often it was made anew, and since when.

    `since` is in seconds since 1970; `up` is false while it waits to be made anew.
    """

    name: str
    address: Any
    pid: int
    restarts: int
    since: float
    up: bool
