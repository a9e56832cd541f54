"""Actors that keep dying are told of on real processes: how often, who, and when they are made anew."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import psutil
from system_harness import Scheduler, agent, running, wait_until


def _kind(scheduler: Scheduler, kind: str) -> dict[str, Any]:
    kinds: list[dict[str, Any]] = scheduler.get("/health/ready").json()["supervision"]
    return next(one for one in kinds if one["kind"] == kind)


def _kill(scheduler: Scheduler, title: str) -> None:
    with contextlib.suppress(psutil.Error):  # it may be on its way out already
        scheduler.child(title).kill()


def test_a_state_machine_that_keeps_dying_is_named_and_its_pause_grows(tmp_path: Path) -> None:
    with (
        agent(tmp_path / "a") as host,
        running(["serve", "--agent", host.address], tmp_path / "scheduler") as scheduler,
    ):
        assert _kind(scheduler, "state_machine")["restarts"] == 0
        for deaths in range(1, 6):
            _kill(scheduler, "StateMachine")
            wait_until(lambda: _kind(scheduler, "state_machine")["restarts"] >= deaths, "counted")  # noqa: B023
        found = wait_until(
            lambda: next(iter(_kind(scheduler, "state_machine")["names"]), None), "it is named"
        )
        assert (found["name"], found["deaths"] >= 5) == (host.address, True)
        assert 'harpoon_supervised_restarts_total{kind="state_machine"}' in scheduler.get("/metrics").text

        _kill(scheduler, "Flock")
        wait_until(lambda: _kind(scheduler, "flock")["restarts"] == 1, "the flock is counted")
        _kill(scheduler, "Discovery")
        wait_until(lambda: _kind(scheduler, "actor")["restarts"] == 1, "the supervisor's own too")
        assert [one["name"] for one in _kind(scheduler, "actor")["names"]] == ["discovery"]

        def all_live_again() -> bool:
            kinds = [_kind(scheduler, kind) for kind in ("actor", "flock", "state_machine")]
            return not any(kind["waiting"] or kind["next_seconds"] for kind in kinds)

        wait_until(all_live_again, "nobody waits any more")
        wait_until(lambda: scheduler.get("/api/v1/agents").json()["agents"][0]["connected"], "connected")
