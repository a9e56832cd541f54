"""What the HTTP side bears: big GETs, 304s, small jobs, a thousand watchers."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench import jobs
from bench.load import Load, drive, request_bytes
from bench.page_age import PageAge, measure_page_age
from bench.running import Cluster, churn, cluster
from bench.usage import TreeUsage
from bench.watchers import Watchers

CHANGES_A_SECOND = 50.0
_DEATHS_A_SECOND = CHANGES_A_SECOND / 2
_CONNECTIONS = 8
_POSTERS = 32
_MARKERS = 5
_AGED_PAGES = 20


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of request. CPU a request: `server_us` that of the scheduler, `client_us` that of the load."""

    what: str
    a_second: float
    server_us: float
    client_us: float
    slowest_ms: float


class WatchersResult(msgspec.Struct, frozen=True, kw_only=True):
    """So many watchers at so many changes a second, and when the median and the last one has seen one."""

    watchers: int
    changes_a_second: float
    median_seconds: float
    last_seconds: float
    missed: int
    scheduler_cores: float


class HttpResult(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    agents: int
    tasks: int
    rates: list[Rate]
    watchers: WatchersResult | None
    page_age: PageAge | None = None

    def lines(self) -> list[str]:
        """As a table."""
        lines = [
            f"| HTTP ({self.tasks:,} tasks on {self.agents:,} agents) | requests/s | server µs | load's µs "
            "| slowest |",
            "| --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {rate.what} | {rate.a_second:,.0f} | {rate.server_us:,.0f} | {rate.client_us:,.0f} "
            f"| {rate.slowest_ms:.0f} ms |"
            for rate in self.rates
        ]
        if self.page_age is not None:
            lines += ["", self.page_age.line()]
        if self.watchers is not None:
            seen = self.watchers
            lines += [
                "",
                f"{seen.watchers:,} watchers at {seen.changes_a_second:g} changes/s: a change is seen by the "
                f"median after {seen.median_seconds:.3f} s, by the last after {seen.last_seconds:.3f} s "
                f"({seen.missed} missed); the scheduler uses {seen.scheduler_cores:.2f} cores.",
            ]
        return lines


def measure_http(
    agents: int, tasks: int, watchers: int, seconds: float, runs: int, directory: Path
) -> HttpResult:
    """Run all of it on one scheduler."""
    rates: list[Rate] = []
    directory.mkdir(parents=True, exist_ok=True)
    settings = directory / "settings.toml"
    # A sample is a change of what the proxy shows: where none is wanted, there must be none.
    settings.write_text("metrics_seconds = 3600\n", "utf-8")
    with cluster(agents, directory, "--config", str(settings)) as running:

        def get(what: str, path: str, status: int = 200, etag: str = "") -> None:
            request = request_bytes("GET", path, headers={"If-None-Match": etag} if etag else {})
            rates.append(_rate(running, what, itertools.repeat(request), _CONNECTIONS, seconds, runs, status))

        get("GET /api/v0/registry, no task", "/api/v0/registry")
        get("GET /api/v0/proxy, no task", "/api/v0/proxy")
        rates.append(
            _rate(running, "POST /api/v0/schedule, new small jobs", _posts(), _POSTERS, seconds, 1, 202)
        )
        _clear(running)
        running.schedule("http", tasks, "always")
        get("GET /api/v0/registry", "/api/v0/registry")
        get("GET /api/v0/proxy", "/api/v0/proxy")
        get("GET /api/v1/jobs", "/api/v1/jobs")
        etag = running.scheduler.client.request("GET", "/api/v0/proxy").headers["ETag"]
        get("GET /api/v0/proxy, 304", "/api/v0/proxy", 304, etag)
        with churn(running.fleet, _DEATHS_A_SECOND):
            get(f"GET /api/v0/proxy, {CHANGES_A_SECOND:g} changes/s", "/api/v0/proxy")
            age = measure_page_age(running, _CONNECTIONS, _AGED_PAGES if watchers else 1)
        seen = _watch(running, watchers) if watchers else None
    return HttpResult(agents=agents, tasks=tasks, rates=rates, watchers=seen, page_age=age)


def _rate(
    running: Cluster,
    what: str,
    requests: Iterator[bytes],
    connections: int,
    seconds: float,
    runs: int,
    status: int,
) -> Rate:
    usage = TreeUsage(running.scheduler.program.pid)
    loads: list[Load] = []
    cpu: list[float] = []
    for _ in range(runs):
        before = sum(usage.cpu_by_kind().values())
        loads.append(drive(running.scheduler.client.address, requests, connections, seconds, status))
        cpu.append(sum(usage.cpu_by_kind().values()) - before)
    return Rate(
        what=what,
        a_second=statistics.median(load.requests / load.seconds for load in loads),
        server_us=statistics.median(
            used / load.requests * 1e6 for used, load in zip(cpu, loads, strict=True)
        ),
        client_us=statistics.median(load.own_cpu / load.requests * 1e6 for load in loads),
        slowest_ms=max(load.slowest_seconds for load in loads) * 1e3,
    )


def _posts() -> Iterator[bytes]:
    for number in itertools.count():
        yield request_bytes(
            "POST", "/api/v0/schedule", jobs.body(jobs.config(f"post-{number}", 1, cpu_cores=0.001))
        )


def _clear(running: Cluster) -> None:
    """Unschedule everything, and wait until it is gone."""
    client = running.scheduler.client
    for name in client.get_json("/api/v0/registry"):
        client.change("PUT", f"/api/v0/unschedule/{name}")
    give_up_at = time.monotonic() + 120.0
    while running.fleet.stats()["containers"] and time.monotonic() < give_up_at:
        time.sleep(0.1)


def _watch(running: Cluster, count: int) -> WatchersResult:
    """A few tasks die while others do all the time; when has each watcher seen which?"""
    usage = TreeUsage(running.scheduler.program.pid)
    watchers = Watchers(running.scheduler.client.address, count)
    medians, lasts, missed = [], [], 0
    try:
        watchers.read_for(2.0)
        with churn(running.fleet, _DEATHS_A_SECOND):
            watchers.read_for(1.0)
            before, started = sum(usage.cpu_by_kind().values()), time.monotonic()
            for number in range(_MARKERS):
                task = running.tasks[number * len(running.tasks) // _MARKERS]
                reply = running.fleet.client.request("POST", f"/die/{task}")
                if reply.status != 200:  # the churn was faster
                    continue
                at = msgspec.json.decode(reply.body)["monotonic_seconds"]
                times = watchers.seen(f'"id":"{task}"'.encode(), 10.0)
                missed += count - len(times)
                if times:
                    medians.append(statistics.median(times) - at)
                    lasts.append(max(times) - at)
                watchers.read_for(0.5)
            cores = (sum(usage.cpu_by_kind().values()) - before) / (time.monotonic() - started)
    finally:
        watchers.close()
    return WatchersResult(
        watchers=count,
        changes_a_second=CHANGES_A_SECOND,
        median_seconds=statistics.median(medians) if medians else -1.0,
        last_seconds=max(lasts, default=-1.0),
        missed=missed,
        scheduler_cores=cores,
    )
