"""The row of the table of failures: the Supervisor or the actor admin dies."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path

import pytest
import requests
from system_harness import Scheduler, agent, command_line, job, running, wait_until

STALE = "x-harpoon-stale"


def _is_stale(scheduler: Scheduler) -> bool:
    answer = scheduler.get("/api/v1/jobs")
    assert answer.status_code == 200, "reads are answered all the time"
    return answer.headers.get(STALE) == "true"


def _put(scheduler: Scheduler, name: str, starts: Path) -> int:
    url = f"{scheduler.url}/api/v1/jobs/test/system/{name}"
    return requests.put(url, json=job(name, 1, starts=starts), timeout=30).status_code


def _actors(scheduler: Scheduler) -> list[str]:
    titles = ("Registry", "Scheduler", "Transformer", "Shepherd", "Flock", "StateMachine", "Supervisor")
    return [line for each in scheduler.tree() if (line := command_line(each)).startswith(titles)]


@pytest.mark.parametrize("title", ["Supervisor", "MultiProcAdmin"])
def test_the_supervisor_or_the_actor_admin_dies(tmp_path: Path, title: str) -> None:
    """ "The launcher starts the actors anew; web answers reads from its replica, marked stale, and writes
    with 503, meanwhile". While the launcher is stopped nobody starts them: the row with it switched off."""
    starts = tmp_path / "starts"
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        scheduler.schedule(job("kept", 3, starts=starts))
        scheduler.wait_running("kept", 3)
        scheduler.process.send_signal(signal.SIGSTOP)
        try:
            scheduler.child(title).kill()
            wait_until(lambda: not _actors(scheduler), "all actors have ended with it")
            wait_until(lambda: _is_stale(scheduler), "reads are marked stale")
            shown = scheduler.get("/api/v1/jobs/test/system/kept").json()
            assert len(shown["tasks"]) == 3, "and show what was known"
            assert _put(scheduler, "refused", starts) == 503
            assert not _actors(scheduler), "nobody else starts them"
        finally:
            scheduler.process.send_signal(signal.SIGCONT)
        wait_until(lambda: not _is_stale(scheduler), "the launcher has started them anew", 30)
        wait_until(lambda: _put(scheduler, "more", starts) in (200, 201), "writes are accepted")
        scheduler.wait_running("more", 1)
        scheduler.wait_running("kept", 3)
        wait_until(lambda: len(starts.read_text().split()) == 4, "each has written its line")
        assert Counter(starts.read_text().split()) == {"kept": 3, "more": 1}, "nothing is started twice"
        assert scheduler.get("/api/v1/jobs/test/system/refused").status_code == 404, "nothing has changed"
