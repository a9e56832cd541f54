"""What does not fit waits, says why for each agent, and is placed as soon as room appears."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import requests
from system_harness import Scheduler, agent, job, running, wait_until


def _waiting(scheduler: Scheduler, name: str) -> dict[str, Any] | None:
    versions = scheduler.get(f"/api/v1/jobs/test/system/{name}").json()["versions"]
    found: dict[str, Any] | None = versions[0]["waiting"]
    return found


def test_tasks_wait_with_a_reason_per_agent_and_are_placed_when_an_agent_comes(tmp_path: Path) -> None:
    agents = tmp_path / "agents"
    with agent(tmp_path / "small", "--mem", "100", "--cpu", "1") as small:
        agents.write_text(f"small {small.address}\n")
        with running(["serve", "--agents-file", str(agents)], tmp_path / "scheduler") as scheduler:
            big = job("big", 2, resources={"mem": 228, "cpu": 0.5, "fd": 64})
            assert scheduler.schedule(big).status_code == 202

            why = wait_until(lambda: _waiting(scheduler, "big"), "a reason")
            wait_until(lambda: "128 MB" in (_waiting(scheduler, "big") or why)["reason"], "the nearest miss")
            why = _waiting(scheduler, "big") or why
            assert why["tasks"] == 2
            assert why["refusals"] == [{"agent": "small", "reason": "short 128 MB"}]

            with agent(tmp_path / "large", "--mem", "1000", "--cpu", "1") as large:
                agents.write_text(f"small {small.address}\nlarge {large.address} zone=b\n")
                scheduler.wait_running("big", 2)
                assert _waiting(scheduler, "big") is None
                assert len(large.containers()) == 2


def test_room_appears_when_another_job_is_unscheduled(tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a", "--mem", "100") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        first = job("first", 1, resources={"mem": 80, "cpu": 0.1, "fd": 64})
        scheduler.schedule(first)
        scheduler.wait_running("first", 1)
        scheduler.schedule(job("second", 1, resources={"mem": 80, "cpu": 0.1, "fd": 64}))
        wait_until(lambda: _waiting(scheduler, "second"), "the second waiting")

        requests.put(f"{scheduler.url}/api/v0/unschedule", json=first, timeout=10)

        scheduler.wait_running("second", 1)
        assert scheduler.statuses("first") == {}


def test_two_jobs_that_want_the_same_port_do_not_share_an_agent(tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        scheduler.schedule(job("one", 1, ports={"HTTP": 29123}))
        scheduler.wait_running("one", 1)
        scheduler.schedule(job("two", 1, ports={"HTTP": 29123}))
        wait_until(lambda: "port 29123" in str(_waiting(scheduler, "two")), "the port as the reason")
