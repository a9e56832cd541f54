"""The network side of a state machine: what can happen there, and the mailbox in which it is found.

The event stream (`actors.agent_stream`) and the requests (`actors.agent_requests`) are sockets that never
block and share one epoll, which the actor watches as a single descriptor. Nothing here has a thread: a turn
of an actor's loop costs more than a request, so what happens in quick succession is taken in together.
"""

from __future__ import annotations

import select
import time
from typing import Protocol

import msgspec

from scheduling.container import StateEvent
from scheduling.executor import Outcome
from scheduling.lifecycle import Input

NEVER = float("inf")
_READY_AT_ONCE = 64


class Saw(msgspec.Struct, frozen=True):
    """An event of the stream; `first`: it is the whole state of the agent.

    `batch_items`: so many containers the agent takes in one request; 0: only one at a time, as v0 does.
    """

    event: StateEvent
    first: bool
    batch_items: int = 0


class Broken(msgspec.Struct, frozen=True):
    """The stream is not there, and why; it is being connected again."""

    error: str


class Replied(msgspec.Struct, frozen=True):
    """What became of a request."""

    task: str
    step: Input
    outcome: Outcome
    error: str


class Probed(msgspec.Struct, frozen=True):
    """Whether a silent agent has answered that it is there; `error` says why it has not."""

    error: str


Happening = Saw | Broken | Replied | Probed


class Ready(Protocol):
    """What owns a descriptor."""

    def ready(self, mask: int) -> None:
        """It can be read or written (or could, when that number was another's)."""


class Timed(Protocol):
    """What waits for something, for so long."""

    # In monotonic seconds; NEVER: it waits for nothing.
    due_at: float

    def due(self) -> None:
        """The time has come."""


class Mailbox:
    """What the network tells the actor, and a descriptor that is readable while there is something."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._owners: dict[int, Ready] = {}
        self._timed: list[Timed] = []
        self._happenings: list[Happening] = []

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._epoll.fileno()

    def own(self, descriptor: int, owner: Ready, mask: int) -> None:
        """Tell this owner when its descriptor is ready."""
        self._owners[descriptor] = owner
        self._epoll.register(descriptor, mask)

    def change(self, descriptor: int, mask: int) -> None:
        """Look for something else on it."""
        self._epoll.modify(descriptor, mask)

    def disown(self, descriptor: int) -> None:
        """Tell nobody any more."""
        del self._owners[descriptor]
        self._epoll.unregister(descriptor)

    def time(self, timed: Timed) -> None:
        """Tell it when its time has come, for ever."""
        self._timed.append(timed)

    def put(self, happening: Happening) -> None:
        """Something has happened."""
        self._happenings.append(happening)

    def drain(self, wait_seconds: float = 0.0) -> list[Happening]:
        """Called by the actor: all that has happened; waits so long for anything.

        Of each connection one piece is read, so an agent can't tell more than is taken in.
        """
        give_up_at = time.monotonic() + wait_seconds
        while True:
            left_seconds = 0.0 if self._happenings else max(give_up_at - time.monotonic(), 0.0)
            for descriptor, mask in self._epoll.poll(left_seconds, _READY_AT_ONCE):
                owner = self._owners.get(descriptor)
                if owner is not None:
                    owner.ready(mask)
            now = time.monotonic()
            for timed in self._timed:
                if timed.due_at <= now:
                    timed.due()
            if self._happenings or now >= give_up_at:
                happenings, self._happenings = self._happenings, []
                return happenings

    def due_within(self) -> float | None:
        """In how many seconds `drain` is to be called though the descriptor is not readable; None: never."""
        if self._happenings:
            return 0.0
        at = min((timed.due_at for timed in self._timed), default=NEVER)
        return max(at - time.monotonic(), 0.0) if at < NEVER else None
