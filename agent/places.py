"""How many may hold a stream of this agent at a time: each costs memory and wakes up for every event.

Watchers and readers of logs are counted apart, so that logs never keep a scheduler out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from agent.lifecycle import Refusal, RefusedError


class Places:
    """Places for `most` streams; `what` names them. Belongs to the event loop."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken = 0

    def check(self) -> None:
        """Raise RefusedError (503) when no place is free."""
        if self._taken >= self._most:
            raise RefusedError(Refusal(503, f"{self._most} {self._what} already, as many as there may be"))

    @contextmanager
    def take(self) -> Iterator[None]:
        """A place, while this lasts. Raises RefusedError (503) when none is free."""
        self.check()
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def hold(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same events; a place is taken from the first one asked for until the stream ends."""
        self._taken += 1
        try:
            async for event in events:
                yield event
        finally:
            self._taken -= 1
