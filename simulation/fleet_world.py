"""What the agents of one fleet share: the time, timers, luck, and the counts that are reported."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from random import Random
from typing import Any, Protocol

from simulation.fleet_behaviour import Delays, Failures

# Above this many different tasks, starts are only counted together.
MOST_TASKS_COUNTED = 1_000_000


class Newsworthy(Protocol):
    """An agent, as far as the world needs to know it."""

    def flush(self) -> None:
        """Send the events that are there."""
        ...


class World:
    """One a fleet. Times are monotonic seconds, read once a turn of the loop."""

    def __init__(self, delays: Delays, failures: Failures, seed: int) -> None:
        self.delays = delays
        self.failures = failures
        self.rng = Random(seed)
        self.now = time.monotonic()
        # Agents with events not sent yet.
        self.with_news: list[Newsworthy] = []
        self.requests = 0
        self.events = 0
        self.refusals = 0
        self.registered = 0
        self.running = 0
        self.deaths = 0
        self.starts_total = 0
        self.starts_most = 0
        self.starts: dict[bytes, int] = {}
        self._timers: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, call: Callable[..., None], *arguments: Any) -> None:
        """Call this after some time; for no time at once."""
        if seconds <= 0.0:
            call(*arguments)
        else:
            heapq.heappush(self._timers, (self.now + seconds, next(self._numbers), call, arguments))

    def run_timers(self) -> float | None:
        """Call what is due; returns the seconds to the next, None for never."""
        self.now = time.monotonic()
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            _, _, call, arguments = heapq.heappop(timers)
            call(*arguments)
        return max(timers[0][0] - self.now, 0.0) if timers else None

    def happens(self, share: float) -> bool:
        """Whether something with this probability happens now."""
        return share > 0.0 and self.rng.random() < share

    def seconds_to(self, a_minute: float) -> float:
        """When something that happens so often a minute happens next."""
        return self.rng.expovariate(a_minute / 60.0)

    def count_start(self, task: bytes) -> None:
        """A task was started, by request or after a death."""
        self.starts_total += 1
        if task in self.starts or len(self.starts) < MOST_TASKS_COUNTED:
            count = self.starts[task] = self.starts.get(task, 0) + 1
            self.starts_most = max(self.starts_most, count)

    def stats(self) -> dict[str, float]:
        """What is reported, flat; times in seconds of this process."""
        return {
            "requests": self.requests,
            "refusals": self.refusals,
            "events": self.events,
            "containers": self.registered,
            "running": self.running,
            "deaths": self.deaths,
            "tasks_started": len(self.starts),
            "starts": self.starts_total,
            "most_starts_of_a_task": self.starts_most,
            "cpu_seconds": time.process_time(),
            "monotonic_seconds": time.monotonic(),
        }
