"""The agent killed again and again while tasks start, run and end: none lost, none twice, all told right.

HARPOON_AGENT_TASKS, HARPOON_AGENT_KILLS and HARPOON_AGENT_SEED make it another run; `make soak` has 500 tasks
and 20 kills. The seed decides how long each agent lives, and in which order the tasks come.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, groups, running_agent, shell, tasks, wait_until

TASKS = int(os.environ.get("HARPOON_AGENT_TASKS", "100"))
KILLS = int(os.environ.get("HARPOON_AGENT_KILLS", "6"))
SEED = int(os.environ.get("HARPOON_AGENT_SEED", "7"))
AT_A_TIME = 6
PATIENCE_SECONDS = 60.0
# A task that was told to stop says so only to itself; what it then ends with is what counts.
ENDS: list[tuple[str, bool, dict[str, Any]]] = [
    ("exit ${N}", False, {"exited": True}),
    ("exec sleep 1000", True, {"signaled": True, "signal": 15}),
    ("kill -${N} ${D}${D}; exec sleep 1000", False, {"signaled": True}),
    ("trap '' TERM; while :; do sleep 0.05; done", True, {"signaled": True, "signal": 9}),
    ("trap 'exit ${N}' TERM; while :; do sleep 0.05; done", True, {"exited": True}),
]
# An exit with 128+N is none by signal N, but for 130 and 141, of which a shell says nothing: agent/ending.py.
NUMBERS = [0, 1, 3, 129, 137, 143, 255]
SIGNALS = [signal.SIGHUP, signal.SIGINT, signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGUSR1]


def persist(request: Callable[[], int], right: tuple[int, ...]) -> None:
    """Repeat a request until the agent answers it; whatever it did before it was killed counts."""

    def answered() -> bool:
        try:
            status = request()
        except (OSError, http.client.HTTPException):
            return False
        assert status in right
        return True

    wait_until(answered, seconds=PATIENCE_SECONDS)


@pytest.mark.timeout(900)
def test_no_task_is_lost_and_none_runs_twice(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    order = list(range(TASKS))
    dice.shuffle(order)
    began = tmp_path / "began"
    with running_agent(tmp_path / "data") as agent:
        with ThreadPoolExecutor(AT_A_TIME + 1) as pool:
            done = threading.Event()
            killer = pool.submit(_kill_at_random, agent, dice, done)
            lives = [pool.submit(_live, agent, index, began) for index in order]
            try:
                for life in lives:
                    life.result()
            finally:
                done.set()
                pool.shutdown(wait=True, cancel_futures=True)
            assert killer.result() == KILLS, "there were too few tasks for all kills"
        for index in range(TASKS):
            told = wait_until(lambda index=index: _ended(agent, index))  # type: ignore[misc]
            assert told == _expected(index), index
        assert sorted(began.read_text().split(), key=int) == [str(index) for index in range(TASKS)]
        wait_until(lambda: not tasks(agent.data), "no task is left")
        wait_until(lambda: not groups(agent.data), "no cgroup is left")


def _kill_at_random(agent: Agent, dice: random.Random, done: threading.Event) -> int:
    kills = 0
    while kills < KILLS and not done.wait(dice.uniform(0.02, 0.5)):
        workers = agent.workers()
        # At once, so that the worker does not end in its own way, and no other is made in its place.
        agent.process.send_signal(signal.SIGSTOP)
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        agent.end(signal.SIGKILL)
        kills += 1
        agent.start()
    return kills


def _number(index: int) -> int:
    numbers = SIGNALS if index % len(ENDS) == 2 else NUMBERS
    return int(numbers[index // len(ENDS) % len(numbers)])


def _live(agent: Agent, index: int, began: Path) -> None:
    """Create and start one; some end by themselves, with a status or a signal, the others are stopped."""
    path = f"/containers/t-{index}"
    ending, stopped, _ = ENDS[index % len(ENDS)]
    variables = {"N": str(_number(index)), "D": "$"}
    grace = {"startup": "1s", "shutdown": "300ms" if "trap ''" in ending else "10s"}
    # What it traps, it traps before anybody can know that it has begun.
    trap, _, rest = ending.rpartition("; while")
    script = f"{trap}; echo {index} >> {began}; while{rest}" if trap else f"echo {index} >> {began}; {ending}"
    body = shell(script, env=variables, grace=grace)
    persist(lambda: agent.call("PUT", path, body).status, (201, 409))
    wait_until((agent.data / path[1:] / "root").exists, seconds=PATIENCE_SECONDS)
    # A start that was carried out, but not answered, must not be repeated for a task that ended since.
    persist(lambda: _start_once(agent, path), (202, 409))
    if stopped:
        wait_until(lambda: _has_begun(began, index), f"t-{index} has begun", PATIENCE_SECONDS)
        persist(lambda: agent.call("POST", f"{path}/stop").status, (202, 409))


def _has_begun(began: Path, index: int) -> bool:
    return began.exists() and str(index) in began.read_text().split()


def _start_once(agent: Agent, path: str) -> int:
    if agent.call("GET", path).json()["status"] != "created":
        return 409
    return agent.call("POST", f"{path}/start").status


def _ended(agent: Agent, index: int) -> object:
    instance = agent.instance(f"t-{index}")
    assert instance is not None, f"t-{index} is lost"
    return instance["status"] == "finished" and instance["process_state"]["container_exit_status"]


def _expected(index: int) -> object:
    _, _, ended = ENDS[index % len(ENDS)]
    if ended.get("signaled"):
        return ended if "signal" in ended else ended | {"signal": _number(index)}
    return ended | {"exit_status": _number(index)} if _number(index) else ended
