"""Twenty agents, four hundred tasks, and one fault after the other: each task is started exactly once."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
from system_harness import Agent, Scheduler, job, running, wait_until

AGENTS, JOBS, SCALE = 20, 8, 50
ACTORS = ("Registry", "Scheduler", "Transformer", "Shepherd", "Flock", "StateMachine", "Supervisor")


@contextlib.contextmanager
def _agents(directory: Path) -> Iterator[list[Agent]]:
    hosts: list[Agent] = []
    try:
        for number in range(AGENTS):
            hosts.append(Agent(directory / f"agent-{number}", "--cpu", "4", "--mem", "4000"))
        yield hosts
    finally:
        for host in hosts:
            host.clean()


def _running(scheduler: Scheduler) -> int:
    jobs = scheduler.get("/api/v1/jobs").json()["jobs"]
    return sum(each["counts"]["running"] for each in jobs if each["counts"]["stale"] == 0)


def _all_run(scheduler: Scheduler, patience_seconds: float = 60.0) -> None:
    wait_until(lambda: _running(scheduler) == JOBS * SCALE, f"{JOBS * SCALE} tasks running", patience_seconds)


def test_no_task_is_started_twice_whatever_dies(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with _agents(tmp_path) as hosts:
        flags = [flag for host in hosts for flag in ("--agent", host.address)]
        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            for number in range(JOBS):
                # Each actor is killed while there is work for it.
                # "Ready" may be from before its death was noticed; who gets a 503 asks again.
                load = job(f"load{number}", SCALE, starts=starts)
                wait_until(partial(_accepts, scheduler, load), "accepted")
                scheduler.child(ACTORS[number % len(ACTORS)]).kill()
                wait_until(lambda: scheduler.get("/health/ready").status_code == 200, "ready again")
            _all_run(scheduler)
            for host in hosts[:3]:
                _restart(host)
            stopped = [psutil.Process(hosts[4].process.pid), *hosts[4].tree()]
            for process in stopped:
                process.send_signal(signal.SIGSTOP)
            scheduler.end(signal.SIGKILL)
            for process in stopped:
                process.send_signal(signal.SIGCONT)
        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            _all_run(scheduler)
            expected = {f"load{number}": SCALE for number in range(JOBS)}
            wait_until(lambda: Counter(starts.read_text().split()) == expected, "every start written down")
            for number in range(JOBS):
                assert scheduler.get(f"/api/v1/jobs/test/system/load{number}").status_code == 200
            assert Counter(starts.read_text().split()) == expected


def _accepts(scheduler: Scheduler, config: dict[str, Any]) -> bool:
    return scheduler.schedule(config).status_code == 202


def _restart(host: Agent) -> None:
    """`kill -9` the agent and start it anew on the same port and data; its tasks live on."""
    port = int(host.address.rpartition(":")[2])
    for process in [psutil.Process(host.process.pid)]:
        process.kill()
    host.process.wait(10)
    again = Agent(host.directory, "--cpu", "4", "--mem", "4000", port=port)
    host.process, host.lines = again.process, again.lines
