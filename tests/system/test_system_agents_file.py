"""The agents file at work: agents renamed, removed while dead, and named twice."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import requests
from system_harness import agent, job, run_to_end, running, wait_until


def test_an_agent_under_a_new_name_keeps_its_tasks(tmp_path: Path) -> None:
    """Two names for one agent would look like two copies of each task, and one would be stopped, for ever."""
    starts, agents = tmp_path / "starts", tmp_path / "agents"
    with agent(tmp_path / "a") as host:
        agents.write_text(f"old {host.address}\n")
        with running(["serve", "--agents-file", str(agents)], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("calm", 3, starts=starts))
            scheduler.wait_running("calm", 3)

            port = host.address.rpartition(":")[2]
            agents.write_text(f"new localhost:{port}\nother 127.0.0.1:1\n")

            wait_until(lambda: "other" in scheduler.get("/api/v1/agents").text, "the file being read again")
            names = {each["name"] for each in scheduler.get("/api/v1/agents").json()["agents"]}
            assert names == {"old", "other"}, "known by its address, it keeps its name"
            over_at = time.monotonic() + 2.0
            wait_until(lambda: time.monotonic() > over_at, "time to do harm")
            assert starts.read_text().split() == ["calm"] * 3
            scheduler.wait_running("calm", 3)


def test_a_dead_agent_that_is_removed_leaves_nothing_waiting(tmp_path: Path) -> None:
    agents, settings = tmp_path / "agents", tmp_path / "fast.toml"
    settings.write_text("lost_after_seconds = 1.0\nsilence_seconds = 0.5\n")
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        agents.write_text(f"a {first.address}\nb {second.address}\n")
        flags = ["--agents-file", str(agents), "--config", str(settings)]
        with running(["serve", *flags], tmp_path / "scheduler") as scheduler:
            scheduler.schedule(job("moving", 4))
            scheduler.wait_running("moving", 4)
            first.clean()

            agents.write_text(f"b {second.address}\n")

            wait_until(lambda: scheduler.get("/api/v1/agents/a").status_code == 404, "a is forgotten")
            scheduler.wait_running("moving", 4)
            assert len(second.containers()) == 4


def test_one_agent_under_two_names_is_refused_at_the_start(tmp_path: Path) -> None:
    arguments = ["actors.main", "serve", "--listen", "127.0.0.1:0"]
    done = run_to_end([*arguments, "--agent", "a=127.0.0.1:5", "--agent", "b=localhost:5"], tmp_path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "http://127.0.0.1:5" in line


def test_a_hung_registry_is_answered_for_in_time_and_what_was_asked_is_done_once(tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        registry = scheduler.child("Registry")
        registry.send_signal(signal.SIGSTOP)
        url = f"{scheduler.url}/api/v1/jobs/test/system/late"
        headers = {"Idempotency-Key": "one-and-the-same"}
        started = time.monotonic()
        answer = requests.put(url, json=job("late", 2), headers=headers, timeout=40)
        assert answer.status_code == 503
        assert "unknown" in answer.json()["detail"]
        assert time.monotonic() - started < 15
        assert scheduler.get("/api/v1/jobs").status_code == 200, "reads are answered meanwhile"

        registry.send_signal(signal.SIGCONT)

        again = requests.put(url, json=job("late", 2), headers=headers, timeout=40)
        assert (again.status_code, again.json()["result"]) == (201, "created"), "the answer of the first"
        scheduler.wait_running("late", 2)
