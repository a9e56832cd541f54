"""One of three hosts is drained: no job ever runs less than its floor, as its agents say themselves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests
from netns_fleet import PATIENT, agents_on, all_starts, counted, follow, scheduler_on, tasks_of, wait_started
from netns_harness import network
from system_harness import HTTP_SECONDS, Scheduler, wait_until

SCALE = 6
DEADLINE_SECONDS = 30.0


def _drain(scheduler: Scheduler, name: str) -> requests.Response:
    with scheduler.place.reach():
        url = f"{scheduler.url}/api/v1/agents/{name}/drain"
        body = {"deadline": f"{DEADLINE_SECONDS:g}s"}
        return requests.post(url, json=body, timeout=HTTP_SECONDS)


def _put(scheduler: Scheduler, config: dict[str, Any]) -> int:
    with scheduler.place.reach():
        url = f"{scheduler.url}/api/v1/jobs/test/system/{config['job']}"
        return requests.put(url, json=config, timeout=HTTP_SECONDS).status_code


def test_a_host_is_drained_and_only_what_its_floor_lets_go_moves(tmp_path: Path) -> None:
    web = counted("web", SCALE, update={"floor": SCALE - 1, "max_parallel": 3})
    solid = counted("solid", 3, update={"floor": 3, "surge": 0, "max_parallel": 3})
    with (
        network(4) as hosts,
        agents_on(hosts[1:], tmp_path) as agents,
        scheduler_on(hosts[0], tmp_path / "scheduler", follow(agents), PATIENT) as scheduler,
    ):
        assert [_put(scheduler, config) for config in (web, solid)] == [201, 201]
        scheduler.wait_running("web", SCALE)
        scheduler.wait_running("solid", 3)
        wait_started(agents, SCALE + 3)
        first, others = agents[0], agents[1:]
        stays = {task for task in tasks_of(first) if task.startswith("solid-")}
        goes = tasks_of(first) - stays
        assert stays
        assert goes

        before = scheduler.get("/api/v1/agents/agent-0").json()
        refused = _drain(scheduler, "agent-0")
        assert refused.status_code == 409
        assert "test/system/solid has scale 3, floor 3 and no surge" in refused.json()["detail"]
        after = scheduler.get("/api/v1/agents/agent-0").json()
        assert (after["drained"], after["version"]) == (False, before["version"]), "nothing has changed"
        # With a surge a restart could move it, so the drain begins.
        assert _put(scheduler, solid | {"update": {"floor": 3, "surge": 1}}) == 200

        begun = time.monotonic()
        assert _drain(scheduler, "agent-0").status_code == 200
        fewest = SCALE

        def moved() -> bool:
            nonlocal fewest
            # The drained one first: what is neither there nor, later, anywhere else was down meanwhile.
            seen = [task for host in (first, *others) for task in tasks_of(host)]
            fewest = min(fewest, sum(task.startswith("web-") for task in seen))
            return goes.isdisjoint(tasks_of(first)) and goes <= {*seen}

        wait_until(moved, "what may go has gone", DEADLINE_SECONDS)
        assert fewest >= SCALE - 1
        assert time.monotonic() - begun < DEADLINE_SECONDS
        assert tasks_of(first) == stays, "its floor is its scale: only a restart moves it"
        drain = scheduler.get("/api/v1/agents/agent-0").json()["drain"]
        assert drain["why"].keys() == stays
        assert all("only a restart of the job can move it" in why for why in drain["why"].values())
        wait_started(agents, SCALE + 3 + len(goes))
        assert all_starts(agents).total() == SCALE + 3 + len(goes), "nothing else has moved"
