"""What several benchmarks need: a scheduler with a fleet on which a number of tasks runs."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from bench import jobs
from bench.client import Client
from bench.cycles import settle
from bench.programs import Fleet, Scheduler, fleet, scheduler, wait_for

_LONGEST_SECONDS = 300.0


class Cluster:
    """A scheduler with its fleet, and the ids of the tasks that were scheduled."""

    def __init__(self, running: Scheduler, simulated: Fleet) -> None:
        self.scheduler, self.fleet = running, simulated
        self.tasks: list[str] = []

    def schedule(self, name: str, tasks: int, restart: str) -> None:
        """Have this many more tasks running."""
        configs = jobs.split(name, tasks, restart=restart)
        for config in configs:
            self.scheduler.client.change("PUT", "/api/v0/schedule", jobs.body(config))
            self.tasks += [f"{config.hash()}-{index}" for index in range(int(config.scale))]
        wait_for(self._all_run, f"{len(self.tasks)} tasks run", _LONGEST_SECONDS, 0.1)
        settle(self.scheduler.program.pid)

    def _all_run(self) -> bool:
        page = self.scheduler.client.expect(200, "GET", "/api/v1/jobs")
        return jobs.counts(page)[0] >= len(self.tasks)


@contextlib.contextmanager
def cluster(agents: int, directory: Path, *options: str) -> Iterator[Cluster]:
    """A scheduler, with these options, and a fleet for the time of a `with`; quiet, without a task."""
    with (
        fleet(agents, directory / "fleet") as simulated,
        scheduler(simulated, agents, directory / "scheduler", *options) as running,
    ):
        settle(running.program.pid)
        yield Cluster(running, simulated)


@contextlib.contextmanager
def churn(simulated: Fleet, deaths_a_second: float) -> Iterator[None]:
    """Tasks die at this rate for the time of a `with`: each death is two changes, died and started again."""
    ending = threading.Event()

    def run() -> None:
        client = Client(simulated.client.address)
        due = time.monotonic()
        while not ending.is_set():
            client.expect(200, "POST", "/die?tasks=1")
            due += 1.0 / deaths_a_second
            ending.wait(max(due - time.monotonic(), 0.0))
        client.close()

    thread = threading.Thread(target=run, daemon=True)
    if deaths_a_second > 0:
        thread.start()
    try:
        yield
    finally:
        ending.set()
        if thread.is_alive():
            thread.join()
