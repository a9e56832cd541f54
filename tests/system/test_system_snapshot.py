"""A registry that is gone comes back from a backup, and what runs on real agents goes on running."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from pathlib import Path

import requests
from system_harness import HTTP_SECONDS, Agent, Scheduler, agent, job, run_to_end, running, wait_until


def _harpoonctl(scheduler: Scheduler, directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_to_end(["ctl.main", "--endpoint", scheduler.url, *arguments], directory)


def _restored(scheduler: Scheduler, directory: Path, file: Path) -> str:
    done = _harpoonctl(scheduler, directory, "snapshot", "restore", str(file), "--yes")
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def _forget(directory: Path) -> None:
    """As after a lost disk; what else is in the data directory stays."""
    files = list(directory.glob("data/registry.db*"))
    assert files, f"no registry in {list(directory.iterdir())}"
    for path in files:
        path.unlink()


def _places(*hosts: Agent) -> dict[str, str]:
    """Where each container is, as the agents themselves say."""
    return {name: host.address for host in hosts for name in host.containers()}


def test_a_restored_registry_adopts_what_runs_and_starts_nothing_twice(tmp_path: Path) -> None:
    starts, backup = tmp_path / "starts", tmp_path / "backup.json"
    home = tmp_path / "scheduler"
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        flags = ["--data", "data", "--agent", first.address, "--agent", second.address]
        with running(["serve", *flags], home) as scheduler:
            scheduler.schedule(job("kept", 4, starts=starts))
            one = job("rescaled", 1, starts=starts)
            url = f"{scheduler.url}/api/v1/jobs/test/system/rescaled"
            for scale in (1, 3):
                assert requests.put(url, json={**one, "scale": scale}, timeout=HTTP_SECONDS).ok
            scheduler.wait_running("kept", 4)
            scheduler.wait_running("rescaled", 3)
            before = {**scheduler.statuses("kept"), **scheduler.statuses("rescaled")}
            saved = _harpoonctl(scheduler, home, "snapshot", "save", str(backup))
            assert (saved.returncode, oct(backup.stat().st_mode & 0o777)) == (0, "0o600"), saved.stderr
            scheduler.end(signal.SIGKILL)
        places = _places(first, second)
        assert set(places) == set(before)

        _forget(home)
        with running(["serve", *flags], home) as scheduler:
            wait_until(lambda: len(scheduler.get("/api/v1/agents").json()["agents"]) == 2, "both agents")
            assert scheduler.get("/api/v1/jobs").json()["jobs"] == [], "it knows no job any more"
            scheduler.schedule(job("later", 1, starts=starts))
            scheduler.wait_running("later", 1)

            said = _restored(scheduler, home, backup)

            assert "2 added, 0 changed, 1 removed" in said
            scheduler.wait_running("kept", 4)
            scheduler.wait_running("rescaled", 3)
            assert {**scheduler.statuses("kept"), **scheduler.statuses("rescaled")} == before
            wait_until(lambda: _places(first, second) == places, "what is not in the backup is gone")
            assert Counter(starts.read_text().split()) == {"kept": 4, "rescaled": 3, "later": 1}
            assert "0 added, 0 changed, 0 removed, 2 as before" in _restored(scheduler, home, backup)
            assert json.loads(backup.read_text())["version"] > 0


def test_a_restored_job_is_not_placed_before_every_agent_has_answered(tmp_path: Path) -> None:
    """The agent that runs it is away when it is restored: another one has room, and must not get it."""
    starts, backup = tmp_path / "starts", tmp_path / "backup.json"
    home = tmp_path / "scheduler"
    with agent(tmp_path / "a") as first, agent(tmp_path / "b") as second:
        address, port = second.address, int(second.address.rpartition(":")[2])
        with running(["serve", "--data", "data", "--agent", address], home) as scheduler:
            scheduler.schedule(job("held", 1, starts=starts))
            scheduler.wait_running("held", 1)
            assert _harpoonctl(scheduler, home, "snapshot", "save", str(backup)).returncode == 0
        second.end()
        _forget(home)
        flags = ["--data", "data", "--agent", first.address, "--agent", address]
        with running(["serve", *flags], home) as scheduler:
            _restored(scheduler, home, backup)

            def reason() -> str:
                waiting = scheduler.get("/api/v1/jobs/test/system/held").json()["versions"][0]["waiting"]
                return waiting["reason"] if waiting else ""

            wait_until(lambda: address in reason(), "the one that is away as the reason")
            with agent(tmp_path / "b", port=port) as back:
                scheduler.wait_running("held", 1)
                assert len(back.containers()) == 1
                assert starts.read_text().split() == ["held"], "it ran all along"


def test_a_registry_that_is_lost_while_the_rest_lives_on_is_obeyed_after_a_restore(tmp_path: Path) -> None:
    """Its predecessor's versions were higher, and nobody waits for them; the agents are told to it again."""
    starts, backup = tmp_path / "starts", tmp_path / "backup.json"
    home = tmp_path / "scheduler"
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--data", "data", "--agent", host.address], home) as scheduler,
    ):
        for name in ("first", "second", "kept"):
            scheduler.schedule(job(name, 1, starts=starts))
            scheduler.wait_running(name, 1)
        assert _harpoonctl(scheduler, home, "snapshot", "save", str(backup)).returncode == 0
        _forget(home)
        scheduler.child("Registry").kill()
        wait_until(lambda: scheduler.get("/api/v1/jobs").json()["jobs"] == [], "it knows no job any more")
        wait_until(lambda: len(scheduler.get("/api/v1/agents").json()["agents"]) == 1, "but the agent again")
        scheduler.schedule(job("later", 1, starts=starts))
        scheduler.wait_running("later", 1)

        _restored(scheduler, home, backup)

        for name in ("first", "second", "kept"):
            scheduler.wait_running(name, 1)
        done = _harpoonctl(scheduler, home, "unschedule", "kept", "--wait", "--timeout", "20s")
        assert done.returncode == 0, done.stderr
        wait_until(lambda: len(host.containers()) == 2, "the agent without it")
        assert sorted(starts.read_text().split()) == ["first", "kept", "later", "second"], "each once"
