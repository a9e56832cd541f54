"""How long a change takes from an agent to a watcher: through every hop of the picture, and to a reader."""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import msgspec

from bench.running import Cluster, cluster
from bench.watchers import Watchers

_SEEN_SECONDS = 10.0


class LatencyResult(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from the moment an agent knows of a death to the watcher's receiving it."""

    agents: int
    tasks: int
    samples: int
    missed: int
    median_seconds: float
    p95_seconds: float
    slowest_seconds: float

    def lines(self) -> list[str]:
        """As a sentence."""
        return [
            f"From an agent's event to a watcher ({self.tasks:,} tasks on {self.agents:,} agents, "
            f"{self.samples} deaths): median {self.median_seconds * 1e3:.1f} ms, 95% within "
            f"{self.p95_seconds * 1e3:.1f} ms, slowest {self.slowest_seconds * 1e3:.1f} ms"
            f"{f', {self.missed} missed' if self.missed else ''}."
        ]


def measure_latency(agents: int, tasks: int, samples: int, directory: Path) -> LatencyResult:
    """One death after the other, on a quiet cluster."""
    with cluster(agents, directory) as running:
        running.schedule("latency", tasks, "always")
        watchers = Watchers(running.scheduler.client.address, 1)
        try:
            watchers.read_for(1.0)
            found = [_sample(running, watchers, number) for number in range(samples)]
        finally:
            watchers.close()
    taken = sorted(each for each in found if each is not None)
    return LatencyResult(
        agents=agents,
        tasks=tasks,
        samples=samples,
        missed=samples - len(taken),
        median_seconds=statistics.median(taken) if taken else -1.0,
        p95_seconds=taken[int(len(taken) * 0.95)] if taken else -1.0,
        slowest_seconds=taken[-1] if taken else -1.0,
    )


def _sample(running: Cluster, watchers: Watchers, number: int) -> float | None:
    task = running.tasks[number % len(running.tasks)]
    reply = running.fleet.client.request("POST", f"/die/{task}")
    while reply.status == 404:  # it has died just now and is not up again
        time.sleep(0.1)
        reply = running.fleet.client.request("POST", f"/die/{task}")
    at = msgspec.json.decode(reply.body)["monotonic_seconds"]
    times = watchers.seen(f'"id":"{task}"'.encode(), _SEEN_SECONDS)
    watchers.read_for(0.05)
    return float(times[0] - at) if times else None
