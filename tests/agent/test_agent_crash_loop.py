"""A task that ends again and again: each restart is told, the next start is known, there may be an end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, Watch, running_agent, shell, wait_until


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running_agent(tmp_path / "data") as one:
        yield one


def told(watch: Watch, container_id: str) -> list[Any]:
    return [
        event["containers"][container_id]["process_state"]
        for event in list(watch.events)
        if container_id in event["containers"]
    ]


def test_each_restart_is_told_and_when_the_next_one_is(agent: Agent) -> None:
    watch = agent.watch()
    agent.run("loop-0", shell("exit 3", restart="on-failure"))
    wait_until(lambda: any(state["restarts"] == 2 for state in told(watch, "loop-0")))
    states = told(watch, "loop-0")
    assert {state["restarts"] for state in states} >= {0, 1, 2}
    waiting = {state["restarts"]: state["next_start_at"] for state in states if state["restarting"]}
    assert 1.9 < waiting[1] - waiting[0] < 4, "a second, then two"
    assert not [state for state in states if not state["restarting"] and "next_start_at" in state]
    assert all(state["container_exit_status"]["exit_status"] == 3 for state in states if state["restarting"])


@pytest.mark.parametrize(("policy", "status"), [("on-failure", 3), ("always", 0)])
def test_after_so_many_restarts_it_is_given_up(agent: Agent, policy: str, status: int) -> None:
    agent.run("loop-0", shell(f"echo began; exit {status}", restart=policy, restart_limit=1))
    instance = agent.wait_for("loop-0", "finished")
    state = instance["process_state"]
    assert (state["restarts"], state["restarting"]) == (1, False)
    assert state["err"] == "given up after 1 restarts in a row"
    assert agent.log("loop-0") == ["began", "began"]
    # Whoever starts it again means it: it has all its restarts again, and the old error is gone.
    agent.call("POST", "/containers/loop-0/start")
    wait_until(lambda: agent.log("loop-0") == ["began"] * 4)
    assert agent.wait_for("loop-0", "finished")["process_state"]["restarts"] == 1


def test_the_limit_and_the_rest_of_the_delay_outlive_the_agent(agent: Agent) -> None:
    agent.run("loop-0", shell("exit 3", restart="always", restart_limit=1))
    wait_until(lambda: agent.instance("loop-0")["process_state"]["restarting"])
    agent.end()
    path = agent.data / "containers/loop-0/state"
    record = json.loads(path.read_text())
    record.update(delay_seconds=30.0, next_start_at=time.time() + 0.2)
    path.write_text(json.dumps(record))
    agent.start()
    state = agent.wait_for("loop-0", "finished")["process_state"]
    assert state["err"] == "given up after 1 restarts in a row"
