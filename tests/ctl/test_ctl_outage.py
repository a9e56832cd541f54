"""The commands for when hosts are gone: what they say before and after, and their exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from ctl_fake_scheduler import FakeScheduler, ok, problem
from ctl_shapes_made import agent
from rich.console import Console

from ctl.shapes import Agent
from ctl.tables import agent_note, agents_table

LOST, BRAKE, RELEASE = "/api/v1/agents/n1/lost", "/api/v1/brake", "/api/v1/brake/release"
CHANGED = {"result": "changed", "message": "so it is", "hash": "", "version": 7}


def brake(**changes: Any) -> dict[str, Any]:
    return {
        "holds": True,
        "released": False,
        "since": 1.0,
        "until": 601.0,
        "away": 3,
        "agents": 4,
        "waiting": ["n1", "n2\x1b[31m"],
        "message": "3 of 4 agents are away",
        **changes,
    }


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        server.on("GET", "/api/v1/agents", ok({"agents": [agent("n1", link="stale", tasks=3), agent("n2")]}))
        server.on("POST", LOST, ok(CHANGED))
        server.on("GET", BRAKE, ok(brake()))
        server.on("POST", RELEASE, ok(CHANGED))
        yield server


def test_an_agent_is_declared_lost_and_its_tasks_are_told_of(scheduler: FakeScheduler) -> None:
    done = scheduler.run("agent", "lost", "n1")
    assert (done.returncode, done.stdout) == (0, "so it is\n")
    assert done.stderr == "its 3 tasks will be placed elsewhere\n"
    [request] = scheduler.asked("POST", LOST)
    assert request.headers["idempotency-key"]


def test_an_agent_is_declared_lost_only_as_it_was_seen(scheduler: FakeScheduler) -> None:
    assert scheduler.run("agent", "lost", "n1", "--if-version", "7").returncode == 0
    [request] = scheduler.asked("POST", LOST)
    assert request.headers["if-match"] == '"7"'


def test_an_agent_that_is_connected_is_not_declared_lost(scheduler: FakeScheduler) -> None:
    scheduler.on("POST", LOST, problem(409, "n1 is connected"))
    done = scheduler.run("agent", "lost", "n1")
    assert (done.returncode, done.stdout) == (1, "")
    assert "harpoonctl: n1 is connected" in done.stderr


def test_the_brake_is_shown_with_who_it_holds(scheduler: FakeScheduler) -> None:
    done = scheduler.run("brake")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "3 of 4 agents are away",
        "away and not lost: n1, n2\\x1b[31m",
        "if these hosts are gone: harpoonctl brake release",
    ]
    scheduler.on("GET", BRAKE, ok(brake(holds=False, waiting=[], message="none is away")))
    assert scheduler.run("brake").stdout == "none is away\n"
    assert json.loads(scheduler.run("brake", "-o", "json").stdout)["holds"] is False


def test_the_brake_is_released_after_saying_for_whom(scheduler: FakeScheduler) -> None:
    done = scheduler.run("brake", "release")
    assert (done.returncode, done.stdout) == (0, "so it is\n")
    assert done.stderr == "lost once they are away for longer than is tolerated: n1, n2\\x1b[31m\n"
    assert json.loads(scheduler.run("brake", "release", "-o", "json").stdout) == CHANGED
    assert len(scheduler.asked("POST", RELEASE)) == 2


def test_a_brake_that_does_not_hold_can_not_be_released(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", BRAKE, ok(brake(holds=False)))
    scheduler.on("POST", RELEASE, problem(409, "the brake does not hold"))
    done = scheduler.run("brake", "release")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["harpoonctl: the brake does not hold"]


@pytest.mark.parametrize(
    ("one", "note"),
    [
        (Agent("n1", lost_since=1.0), "lost"),
        (Agent("n1", lost_since=1.0, declared_lost=True), "declared lost"),
        (Agent("n1", link="stale", braked_until=5.0, error="refused"), "the brake holds, refused"),
        (Agent("n1", link="connected"), ""),
    ],
)
def test_the_table_of_agents_says_so(one: Agent, note: str) -> None:
    assert agent_note(one) == note
    console = Console(width=200)
    with console.capture() as shown:
        console.print(agents_table([one]))
    assert note in shown.get()
