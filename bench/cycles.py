"""Schedule and unschedule on the real scheduler: how long, and at what cost in CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import msgspec

from bench import jobs
from bench.programs import BenchError, Fleet, Scheduler
from bench.usage import TreeUsage, busy_seconds, cpu_seconds, spent

_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One way, schedule or unschedule. `seconds`: from the first request sent until the API says so;
    `agents_seconds`: until it was so on the agents. CPU in seconds; `others_cpu`: all that is not ours.
    `unavailable`: how often a change was answered 503 before it was taken.
    """

    seconds: float
    agents_seconds: float
    scheduler_cpu: float
    fleet_cpu: float
    others_cpu: float
    scheduler_cpu_by_kind: dict[str, float]
    requests: int
    events: int
    unavailable: int


class Cycle(msgspec.Struct, frozen=True, kw_only=True):
    """There and back."""

    schedule: Phase
    unschedule: Phase


def run_cycle(scheduler: Scheduler, fleet: Fleet, tasks: int, name: str, timeout_seconds: float) -> Cycle:
    """Schedule `tasks` tasks, wait until all run, unschedule them, wait until all are gone."""
    both = Ways(scheduler, fleet, TreeUsage(scheduler.program.pid), tasks, name, timeout_seconds)
    return Cycle(schedule=both.schedule(), unschedule=both.unschedule())


class Ways:
    """The two ways of a cycle, for who does something between them; `usage` is of all that schedules."""

    def __init__(
        self,
        scheduler: Scheduler,
        fleet: Fleet,
        usage: TreeUsage,
        tasks: int,
        name: str,
        timeout_seconds: float,
    ) -> None:
        self._client, self._fleet, self._usage = scheduler.client, fleet, usage
        self._tasks, self._timeout_seconds = tasks, timeout_seconds
        self._bodies = [jobs.body(config) for config in jobs.split(name, tasks)]

    def schedule(self) -> Phase:
        """Schedule all tasks, and wait until all run."""
        return self._way("/api/v0/schedule", lambda stats: stats["running"] == self._tasks, self._all_shown)

    def unschedule(self) -> Phase:
        """Unschedule them, and wait until all are gone."""
        return self._way("/api/v0/unschedule", lambda stats: stats["containers"] == 0, self._none_shown)

    def _way(self, path: str, done: Callable[[dict[str, float]], bool], shown: Callable[[], bool]) -> Phase:
        def send() -> int:
            return sum(self._client.change("PUT", path, body) for body in self._bodies)

        return _phase(self._fleet, self._usage, send, done, shown, self._timeout_seconds)

    def _all_shown(self) -> bool:
        page = self._client.expect(200, "GET", "/api/v1/jobs")
        return jobs.counts(page) == (self._tasks, len(self._bodies))

    def _none_shown(self) -> bool:
        return b'"container_id"' not in self._client.expect(200, "GET", "/api/v0/proxy")


def settle(root: int | Mapping[str, int], timeout_seconds: float = 20.0) -> None:
    """Wait until a tree of processes, or that of several hosts, is quiet: less than a tenth of a core for
    half a second."""
    usage = TreeUsage(root)
    give_up_at = time.monotonic() + timeout_seconds
    while time.monotonic() < give_up_at:
        before = sum(usage.cpu_by_kind().values())
        time.sleep(0.5)
        if sum(usage.cpu_by_kind().values()) - before < 0.05:
            return


def _phase(
    fleet: Fleet,
    usage: TreeUsage,
    send: Callable[[], int],
    done: Callable[[dict[str, float]], bool],
    shown: Callable[[], bool],
    timeout_seconds: float,
) -> Phase:
    stats_before, cpu_before = fleet.stats(), usage.cpu_by_kind()
    fleet_before, own_before, busy_before = (
        cpu_seconds(fleet.program.pid),
        time.process_time(),
        busy_seconds(),
    )
    started = time.perf_counter()
    unavailable = send()
    _wait(lambda: done(fleet.stats()), started, timeout_seconds, fleet)
    agents_seconds = time.perf_counter() - started
    _wait(shown, started, timeout_seconds, fleet)
    seconds = time.perf_counter() - started
    busy = busy_seconds() - busy_before
    by_kind = spent(cpu_before, usage.cpu_by_kind())
    fleet_cpu = cpu_seconds(fleet.program.pid) - fleet_before
    own = time.process_time() - own_before
    stats_after = fleet.stats()
    return Phase(
        seconds=seconds,
        agents_seconds=agents_seconds,
        scheduler_cpu=sum(by_kind.values()),
        fleet_cpu=fleet_cpu,
        others_cpu=max(busy - fleet_cpu - own - sum(by_kind.values()), 0.0),
        scheduler_cpu_by_kind=by_kind,
        requests=int(stats_after["requests"] - stats_before["requests"]),
        events=int(stats_after["events"] - stats_before["events"]),
        unavailable=unavailable,
    )


def _wait(condition: Callable[[], bool], started: float, timeout_seconds: float, fleet: Fleet) -> None:
    """Ask often when it is quick, seldom when it takes long: asking costs CPU too."""
    while not condition():
        elapsed = time.perf_counter() - started
        if elapsed > timeout_seconds:
            raise BenchError(f"not done after {timeout_seconds:.0f} s; the fleet says {fleet.stats()}")
        time.sleep(min(_LONGEST_PAUSE_SECONDS, max(_PAUSE_SECONDS, elapsed / 50)))
