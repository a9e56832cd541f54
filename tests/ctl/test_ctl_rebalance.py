"""`harpoonctl rebalance`: what it asks for, what it shows, its exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from ctl_fake_scheduler import FakeScheduler, ok

PATH = "/api/v1/rebalance"
MOVE = {"task": "web-0a1b2c3-0", "source": "n1", "target": "n2", "why": "n1 is 73% full, n2 0%"}
LOADS = [
    {"agent": "n1", "tasks_before": 6, "tasks_after": 5, "use_before": 0.73, "use_after": 0.61},
    {"agent": "n2", "tasks_before": 0, "tasks_after": 1, "use_before": 0.0, "use_after": 0.12},
]
PLAN = {
    "message": "1 task would be moved",
    "token": "7-0123",
    "version": 7,
    "moves": [MOVE],
    "agents": LOADS,
    "left_out": ["p/e/db keeps 3 of its 3 tasks running (floor)"],
}


def told(state: str, message: str) -> dict[str, object]:
    return {"state": state, "message": message, "left": 1, "moves": [{**MOVE, "state": "waiting"}]}


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        server.on("POST", PATH, ok({"result": "changed", "message": "1 task is moved", "version": 8}))
        server.on("POST", f"{PATH}/plan", ok(PLAN))
        server.on("DELETE", PATH, ok({"result": "changed", "message": "it is cancelled", "version": 9}))
        yield server


def test_a_plan_shows_the_moves_and_the_load_and_asks_for_nothing(scheduler: FakeScheduler) -> None:
    done = scheduler.run("rebalance", "--plan")
    assert (done.returncode, done.stderr) == (1, "")
    for text in ("n1 is 73% full, n2 0%", "73%", "61%", "left out: p/e/db keeps 3", "--approve 7-0123"):
        assert text in done.stdout
    assert not scheduler.asked("POST", PATH)
    scheduler.on("POST", f"{PATH}/plan", ok({**PLAN, "moves": []}))
    assert scheduler.run("rebalance", "--plan").returncode == 0


def test_the_token_and_the_deadline_are_sent(scheduler: FakeScheduler) -> None:
    done = scheduler.run("rebalance", "--approve", "7-0123", "--deadline", "10m")
    assert (done.returncode, done.stdout) == (0, "1 task is moved\n")
    [request] = scheduler.asked("POST", PATH)
    assert json.loads(request.body) == {"deadline": "10m0s"}
    assert request.query == {"approve": "7-0123"}


def test_it_is_waited_for(scheduler: FakeScheduler) -> None:
    scheduler.on(
        "GET",
        PATH,
        ok(told("running", "0 of 1 tasks are moved, 1 are left")),
        ok(told("over", "1 of 1 were moved")),
    )
    done = scheduler.run("rebalance", "--wait")
    assert (done.returncode, done.stdout) == (0, "1 task is moved\n1 of 1 were moved\n")
    assert "1 are left" in done.stderr


def test_what_is_not_over_in_time_exits_with_2(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", PATH, ok(told("running", "1 are left")))
    done = scheduler.run("rebalance", "--wait", "--timeout", "0s")
    assert (done.returncode, "`--cancel` ends it" in done.stderr) == (2, True)


def test_status_and_cancel(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", PATH, ok(told("running", "1 are left")))
    assert "waiting" in scheduler.run("rebalance", "--status").stdout
    assert scheduler.run("rebalance", "--cancel").stdout == "it is cancelled\n"
    done = scheduler.run("rebalance", "--status", "--cancel")
    assert (done.returncode, "exclude each other" in done.stderr) == (1, True)
