"""Virtual time: one queue of events ordered by time and, at the same time, by when they were planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable

# Wall-clock time starts here, so that nobody takes an early time for "not yet".
BEGIN_SECONDS = 1_000_000.0


class Clock:
    """What time it is, and what happens next. Nothing else in the simulation knows a time."""

    def __init__(self) -> None:
        self.now = BEGIN_SECONDS
        self.steps = 0
        self._sequence = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []

    def after(self, seconds: float, happen: Callable[[], None]) -> None:
        """Let `happen` be called this much later."""
        self.at(self.now + seconds, happen)

    def at(self, time: float, happen: Callable[[], None]) -> None:
        """Let `happen` be called at this time, or now if it has passed."""
        self._sequence += 1
        heapq.heappush(self._events, (max(time, self.now), self._sequence, happen))

    def step(self, until: float) -> bool:
        """Let the next event happen, if it is due by `until`; else it is `until`, and False."""
        if not self._events or self._events[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, happen = heapq.heappop(self._events)
        self.steps += 1
        happen()
        return True

    @property
    def elapsed(self) -> float:
        """Seconds since the simulation began."""
        return self.now - BEGIN_SECONDS

    # What the actors use of the module `time`.

    def time(self) -> float:
        """Seconds since 1970, as far as anybody in here can tell."""
        return self.now

    def monotonic(self) -> float:
        """The same: virtual time never jumps."""
        return self.now
