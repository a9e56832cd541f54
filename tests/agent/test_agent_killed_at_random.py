"""The agent killed again and again while tasks start, run, stop and end: none lost, none twice."""

from __future__ import annotations

import http.client
import random
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from agent_harness import Agent, running_agent, shell, tasks, wait_until

TASKS, KILLS = 60, 6


def persist(request: Callable[[], int], right: tuple[int, ...]) -> None:
    """Repeat a request until the agent answers it; whatever it did before it was killed counts."""

    def answered() -> bool:
        try:
            status = request()
        except (OSError, http.client.HTTPException):
            return False
        assert status in right
        return True

    wait_until(answered)


def test_no_task_is_lost_and_none_runs_twice(tmp_path: Path) -> None:
    dice = random.Random(7)
    began = tmp_path / "began"
    with running_agent(tmp_path / "data") as agent:
        done = threading.Event()
        killer = threading.Thread(target=_kill_at_random, args=(agent, dice, done))
        killer.start()
        try:
            for index in range(TASKS):
                _live(agent, index, began)
        finally:
            done.set()
            killer.join()
        for index in range(TASKS):
            told = wait_until(lambda index=index: _ended(agent, index))  # type: ignore[misc]
            assert told == _expected(index), index
        assert sorted(began.read_text().split(), key=int) == [str(index) for index in range(TASKS)]
        wait_until(lambda: not tasks(agent.data), "no task is left")


def _kill_at_random(agent: Agent, dice: random.Random, done: threading.Event) -> None:
    for _ in range(KILLS):
        if done.wait(dice.uniform(0.05, 0.4)):
            return
        agent.end(signal.SIGKILL)
        agent.start()


def _live(agent: Agent, index: int, began: Path) -> None:
    """Create and start one; every third ends by itself with a status of its own, the others are stopped."""
    path = f"/containers/t-{index}"
    ending = f"exit {index}" if index % 3 == 0 else "exec sleep 1000"
    body = shell(f"echo {index} >> {began}; {ending}")
    persist(lambda: agent.call("PUT", path, body).status, (201, 409))
    wait_until((agent.data / path[1:] / "root").exists)
    # A start that was carried out, but not answered, must not be repeated for a task that ended since.
    persist(lambda: _start_once(agent, path), (202, 409))
    if index % 3:
        wait_until(lambda: began.exists() and str(index) in began.read_text().split())
        persist(lambda: agent.call("POST", f"{path}/stop").status, (202, 409))


def _start_once(agent: Agent, path: str) -> int:
    if agent.call("GET", path).json()["status"] != "created":
        return 409
    return agent.call("POST", f"{path}/start").status


def _ended(agent: Agent, index: int) -> object:
    instance = agent.instance(f"t-{index}")
    assert instance is not None, f"t-{index} is lost"
    return instance["status"] == "finished" and instance["process_state"]["container_exit_status"]


def _expected(index: int) -> object:
    if index % 3:
        return {"signaled": True, "signal": 15}
    return {"exited": True, "exit_status": index} if index else {"exited": True}
