"""Taking over from the first implementation: its registry file, and what its agents already run."""

from __future__ import annotations

import json
import time
from pathlib import Path

import requests
from system_harness import Agent, Scheduler, agent, job, running, wait_until

from scheduling.canonical import go_json
from scheduling.job import JOB_CONFIG_DECODER, JobConfig


def _config(raw: dict[str, object]) -> JobConfig:
    return JOB_CONFIG_DECODER.decode(json.dumps(raw))


def _start_by_hand(host: Agent, name: str, config: JobConfig) -> None:
    """As the old scheduler would have: PUT, wait for created, POST start."""
    url = f"{host.url}/api/v0/containers/{name}"
    assert requests.put(url, data=go_json(config.container()) + b"\n", timeout=10).status_code == 201
    wait_until(lambda: host.containers().get(name, {}).get("status") == "created", f"{name} created")
    assert requests.post(f"{url}/start", timeout=10).status_code == 202
    wait_until(lambda: host.containers()[name]["status"] == "running", f"{name} running")


def _reason(scheduler: Scheduler, name: str) -> str:
    waiting = scheduler.get(f"/api/v1/jobs/test/system/{name}").json()["versions"][0]["waiting"]
    return waiting["reason"] if waiting else ""


def test_running_tasks_of_an_imported_registry_are_adopted_not_restarted(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    config = _config(job("old", 3, starts=starts))
    name = config.hash()
    (tmp_path / "scheduler-registry.json").write_bytes(b'{"%s":%s}\n' % (name.encode(), config.canonical()))
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        _start_by_hand(first, f"{name}-0", config)
        _start_by_hand(second, f"{name}-1", config)
        _start_by_hand(second, "foreign-0", _config(job("foreign", 1)))
        flags = [
            "--agent",
            first.address,
            "--agent",
            second.address,
            "--import",
            str(tmp_path / "scheduler-registry.json"),
        ]

        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            scheduler.wait_running("old", 3)

            tasks = {task["id"]: task for task in scheduler.get("/api/v1/tasks?job=old").json()["tasks"]}
            assert tasks[f"{name}-0"]["agent"] == first.address
            assert tasks[f"{name}-1"]["agent"] == second.address
            assert starts.read_text().split() == ["old"] * 3, "two were running, one was missing"
            assert (
                scheduler.get("/api/v0/registry").content
                == (tmp_path / "scheduler-registry.json").read_bytes()
            )
            assert second.containers()["foreign-0"]["status"] == "running"
            agents = {each["name"]: each for each in scheduler.get("/api/v1/agents").json()["agents"]}
            assert agents[second.address]["foreign"] == 1

        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            scheduler.wait_running("old", 3)
            assert starts.read_text().split() == ["old"] * 3, "imported again, nothing restarted"


def test_nothing_imported_is_placed_before_every_agent_that_might_hold_it_has_answered(
    tmp_path: Path,
) -> None:
    starts = tmp_path / "starts"
    config = _config(job("old", 1, starts=starts))
    name = config.hash()
    (tmp_path / "old.json").write_bytes(b'{"%s":%s}\n' % (name.encode(), config.canonical()))
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        _start_by_hand(second, f"{name}-0", config)
        address, port = second.address, int(second.address.rpartition(":")[2])
        second.end()
        flags = ["--agent", first.address, "--agent", address, "--import", str(tmp_path / "old.json")]

        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            wait_until(lambda: address in _reason(scheduler, "old"), "the one that is away as the reason")
            with agent(tmp_path / "b", port=port) as back:
                scheduler.wait_running("old", 1)
                assert list(back.containers()) == [f"{name}-0"]
                assert starts.read_text().split() == ["old"], "it ran all along"


def test_the_scheduler_restarts_and_restarts_no_task(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with agent(tmp_path / "a") as host:
        with running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("steady", 5, starts=starts))
            before = scheduler.wait_running("steady", 5)
        with running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler:
            assert scheduler.wait_running("steady", 5) == before
            done_at = time.monotonic() + 1.0
            wait_until(lambda: time.monotonic() > done_at, "a moment in which it could do harm")
            assert starts.read_text().split() == ["steady"] * 5
