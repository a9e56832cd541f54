"""Operators override the brake on real processes: for one agent, and for the whole outage."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import requests
from system_harness import HTTP_SECONDS, REPOSITORY, Agent, Scheduler, agent, job, running, wait_until

SETTINGS = "lost_after_seconds = 2.0\nsilence_seconds = 0.5\n"


def _agent(scheduler: Scheduler, host: Agent) -> dict[str, Any]:
    found: dict[str, Any] = scheduler.get(f"/api/v1/agents/{host.address}").json()
    return found


def _brake(scheduler: Scheduler) -> dict[str, Any]:
    found: dict[str, Any] = scheduler.get("/api/v1/brake").json()
    return found


def _declare_lost(scheduler: Scheduler, host: Agent) -> requests.Response:
    return requests.post(f"{scheduler.url}/api/v1/agents/{host.address}/lost", timeout=HTTP_SECONDS)


def _harpoonctl(scheduler: Scheduler, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ctl.main", "--endpoint", scheduler.url, *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=HTTP_SECONDS,
        check=False,
    )


def _send(host: Agent, number: int) -> None:
    for process in [psutil.Process(host.process.pid), *host.tree()]:
        process.send_signal(number)


def _running_on(scheduler: Scheduler, host: Agent) -> int:
    tasks = scheduler.get(f"/api/v1/tasks?agent={host.address}&status=running").json()["tasks"]
    return sum(not task["stale"] for task in tasks)


def test_an_operator_overrides_the_brake_for_one_agent_and_then_for_all(tmp_path: Path) -> None:
    (tmp_path / "fast.toml").write_text(SETTINGS)
    with (
        agent(tmp_path / "a") as first,
        agent(tmp_path / "b") as second,
        agent(tmp_path / "c") as third,
        agent(tmp_path / "d") as stays,
    ):
        away = (first, second, third)
        flags = [flag for host in (*away, stays) for flag in ("--agent", host.address)]
        flags += ["--config", str(tmp_path / "fast.toml")]
        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("held", 8))
            scheduler.wait_running("held", 8)
            on_first = _running_on(scheduler, first)
            assert on_first, "least_used spreads over all four"
            refused = _declare_lost(scheduler, first)
            assert (refused.status_code, "is connected" in refused.json()["detail"]) == (409, True)

            for host in away:
                _send(host, signal.SIGSTOP)
            wait_until(lambda: _brake(scheduler)["holds"], "the brake")
            wait_until(lambda: _agent(scheduler, first)["braked_until"], "shown of the agent")
            before = _running_on(scheduler, stays)

            # One agent by hand: it is lost, its tasks go elsewhere, and the brake holds the others.
            assert _declare_lost(scheduler, first).status_code == 200
            wait_until(lambda: _agent(scheduler, first)["lost_since"], "lost by its operator's word")
            wait_until(lambda: _running_on(scheduler, stays) == before + on_first, "its tasks elsewhere")
            assert [_agent(scheduler, host)["lost_since"] for host in (second, third)] == [None, None]
            assert _declare_lost(scheduler, first).json()["result"] == "unchanged"

            # All of them: the word is on disk, and holds for the scheduler's successor too.
            done = _harpoonctl(scheduler, "brake", "release")
            assert (done.returncode, "the brake is released" in done.stdout) == (0, True), done.stderr
            scheduler.child("Scheduler").kill()
            wait_until(lambda: all(_agent(scheduler, host)["lost_since"] for host in away), "all three lost")
            wait_until(lambda: _running_on(scheduler, stays) == 8, "all eight on the one that stays")
            assert _brake(scheduler)["released"] is True

            for host in away:
                _send(host, signal.SIGCONT)
            wait_until(lambda: not any(_agent(scheduler, host)["lost_since"] for host in away), "all back")
            wait_until(lambda: _brake(scheduler)["released"] is False, "the release is forgotten")
            assert [_agent(scheduler, host)["declared_lost"] for host in away] == [False] * 3
            scheduler.wait_running("held", 8)
            assert _harpoonctl(scheduler, "brake", "release").returncode == 1
