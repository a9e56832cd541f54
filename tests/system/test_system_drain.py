"""A host is emptied on real processes: each job keeps its floor, and a scheduler that was killed goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import requests
from system_harness import HTTP_SECONDS, Agent, Scheduler, agent, job, running, wait_until

SCALE = 4


def _running(scheduler: Scheduler, host: Agent | None = None) -> int:
    query = f"&agent={host.address}" if host is not None else ""
    tasks = scheduler.get(f"/api/v1/tasks?status=running{query}").json()["tasks"]
    return sum(not task["stale"] for task in tasks)


def _waiting(scheduler: Scheduler) -> str | None:
    waiting = scheduler.get("/api/v1/jobs").json()["jobs"][0]["versions"][0]["waiting"]
    return str(waiting["reason"]) if waiting else None


def _drain(scheduler: Scheduler, host: Agent, deadline: str | None = None) -> None:
    url = f"{scheduler.url}/api/v1/agents/{host.address}/drain"
    reply = requests.post(url, data=json.dumps({"deadline": deadline}), timeout=HTTP_SECONDS)
    assert reply.status_code == 200, reply.text


def _fewest_until_empty(scheduler: Scheduler, host: Agent) -> int:
    """How many tasks ran at least, as seen again and again until nothing of the host is left."""
    fewest = SCALE

    def empty() -> bool:
        nonlocal fewest
        fewest = min(fewest, _running(scheduler))
        found: int = scheduler.get(f"/api/v1/agents/{host.address}").json()["tasks"]
        return found == 0

    wait_until(empty, "the agent is empty")
    return fewest


def test_a_host_is_drained_and_each_job_keeps_its_floor(tmp_path: Path) -> None:
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        flags = ["serve", "--agent", first.address, "--agent", second.address]
        with running(flags, tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("web", SCALE))
            scheduler.wait_running("web", SCALE)
            assert _running(scheduler, first) > 0, "least_used spreads over both"
            _drain(scheduler, first)
            scheduler.end(signal.SIGKILL)
        with running(flags, tmp_path / "scheduler") as scheduler:
            # Until the agents have answered nothing is known to run, and nothing is counted.
            wait_until(lambda: _running(scheduler) >= SCALE - 1, "the agents have answered")
            fewest = _fewest_until_empty(scheduler, first)
            wait_until(lambda: _running(scheduler, second) == SCALE, "all run on the other")
    assert fewest >= SCALE - 1, "one at a time, as max_parallel says"


def test_what_fits_nowhere_else_stays_until_the_deadline(tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a") as only,
        running(["serve", "--agent", only.address], tmp_path / "scheduler") as scheduler,
    ):
        scheduler.schedule(job("web"))
        scheduler.wait_running("web", 1)
        _drain(scheduler, only)
        scheduler.child("Scheduler").kill()
        wait_until(lambda: scheduler.get("/health/ready").status_code == 200, "it is made anew")
        assert _running(scheduler, only) == 1
        _drain(scheduler, only, "0s")
        wait_until(lambda: _running(scheduler) == 0, "its time is over")
        reason = wait_until(lambda: _waiting(scheduler), "told why it waits")
        assert "drained" in reason
