"""Agents that go away on real processes: stale, lost, replaced, returned; and tasks that can't run."""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
from system_harness import Agent, Scheduler, agent, job, running, wait_until

FAST = "lost_after_seconds = 2.0\nsilence_seconds = 0.5\n"


def _settings(directory: Path, text: str = FAST) -> list[str]:
    directory.mkdir(exist_ok=True)
    (directory / "fast.toml").write_text(text)
    return ["--config", str(directory / "fast.toml")]


def _places(scheduler: Scheduler, name: str) -> dict[str, str]:
    tasks = scheduler.get(f"/api/v1/tasks?job={name}").json()["tasks"]
    return {task["id"]: task["agent"] for task in tasks if task["status"] == "running" and not task["stale"]}


def _status(scheduler: Scheduler, host: Agent) -> dict[str, Any]:
    found: dict[str, Any] = scheduler.get(f"/api/v1/agents/{host.address}").json()
    return found


def _stop(host: Agent, number: int = signal.SIGSTOP) -> None:
    """Make the host silent, with its tasks; its sockets stay open, as behind a pulled cable."""
    for process in [psutil.Process(host.process.pid), *host.tree()]:
        process.send_signal(number)


def test_tasks_of_a_lost_agent_run_elsewhere_and_its_copies_are_stopped_when_it_returns(
    tmp_path: Path,
) -> None:
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second, agent(tmp_path / "c") as third:
        flags = [flag for host in (first, second, third) for flag in ("--agent", host.address)]
        with running(["serve", *flags, *_settings(tmp_path / "conf")], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("moved", 6))
            scheduler.wait_running("moved", 6)
            before = _places(scheduler, "moved")
            hit = {task for task, where in before.items() if where == first.address}
            assert hit, "least_used spreads over all three"

            _stop(first)
            wait_until(lambda: _status(scheduler, first)["link"] == "stale", "stale")
            wait_until(lambda: _status(scheduler, first)["lost_since"], "lost")
            wait_until(lambda: len(_places(scheduler, "moved")) == 6, "all six elsewhere")
            after = _places(scheduler, "moved")
            assert first.address not in after.values()
            assert {task: where for task, where in after.items() if task not in hit} == {
                task: where for task, where in before.items() if task not in hit
            }, "the others were left alone"

            _stop(first, signal.SIGCONT)
            wait_until(lambda: first.containers() == {}, "the copies nobody wants are gone")
            wait_until(lambda: _status(scheduler, first)["lost_since"] is None, "here again")
            assert _places(scheduler, "moved") == after


def test_an_agent_that_is_away_within_its_tolerance_keeps_its_tasks(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        flags = ["--agent", first.address, "--agent", second.address]
        slow = _settings(tmp_path / "conf", "lost_after_seconds = 60.0\nsilence_seconds = 0.3\n")
        with running(["serve", *flags, *slow], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("kept", 4, starts=starts))
            scheduler.wait_running("kept", 4)
            _stop(first)
            wait_until(lambda: _status(scheduler, first)["link"] == "stale", "stale")
            _stop(first, signal.SIGCONT)
            wait_until(lambda: _status(scheduler, first)["link"] == "connected", "connected")
            scheduler.wait_running("kept", 4)
            assert Counter(starts.read_text().split()) == {"kept": 4}


def test_the_brake_holds_while_most_agents_are_away(tmp_path: Path) -> None:
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second, agent(tmp_path / "c") as third:
        hosts = (first, second, third)
        flags = [flag for host in hosts for flag in ("--agent", host.address)]
        with running(["serve", *flags, *_settings(tmp_path / "conf")], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("held", 3))
            scheduler.wait_running("held", 3)
            for host in hosts:
                _stop(host)
            wait_until(lambda: {_status(scheduler, host)["link"] for host in hosts} == {"stale"}, "all stale")
            wait_until(lambda: scheduler.get("/health/ready").json()["brake"], "the brake")
            over_at = time.monotonic() + 4.0
            wait_until(lambda: time.monotonic() > over_at, "twice the tolerance")
            assert [_status(scheduler, host)["lost_since"] for host in hosts] == [None, None, None]
            for host in hosts:
                _stop(host, signal.SIGCONT)
            wait_until(lambda: scheduler.get("/health/ready").json()["brake"] is None, "the brake is off")
            scheduler.wait_running("held", 3)


def test_an_agent_that_comes_back_empty_gets_its_tasks_again(tmp_path: Path) -> None:
    with agent(tmp_path / "a") as first:
        port = int(first.address.rpartition(":")[2])
        with running(["serve", "--agent", first.address], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("again", 3))
            scheduler.wait_running("again", 3)
            first.clean()
            with agent(tmp_path / "empty", port=port) as empty:
                wait_until(lambda: len(empty.containers()) == 3, "all three there")
                scheduler.wait_running("again", 3)


def test_a_task_that_can_not_run_where_it_is_is_tried_elsewhere_and_says_why(tmp_path: Path) -> None:
    missing = job("missing", 1, command={"working_dir": "/", "exec": ["./there-is-no-such-program"]})
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        flags = ["--agent", first.address, "--agent", second.address]
        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(missing)

            def reason() -> str:
                versions = scheduler.get("/api/v1/jobs/test/system/missing").json()["versions"]
                return versions[0]["waiting"]["reason"] if versions[0]["waiting"] else ""

            wait_until(lambda: "failed once" in reason(), "the first failure")
            first_time = reason()
            assert "there-is-no-such-program" in first_time
            wait_until(lambda: "failed 2 times" in reason(), "the second failure")
            tried = [host.address for host in (first, second) if host.address in first_time + reason()]
            assert len(tried) == 2, "not twice on the same agent"
