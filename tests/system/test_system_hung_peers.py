"""Many peers of an actor hang at once: the rest is served without delay."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from system_harness import Program, Scheduler, command_line, job, running, wait_until

AGENTS, HUNG = 30, 25


@contextlib.contextmanager
def fleet(directory: Path, agents: int) -> Iterator[Path]:
    """Simulated agents in one process; gives the agents file that names them."""
    directory.mkdir(exist_ok=True)
    file = directory / "agents"
    program = Program(["simulation.fleet", "--agents", str(agents), "--agents-file", str(file)], directory)
    try:
        wait_until(lambda: file.exists() and len(file.read_text().split()) >= agents, "the fleet")
        yield file
    finally:
        program.end()


def _connected(scheduler: Scheduler) -> int:
    agents = scheduler.get("/api/v1/agents").json()["agents"]
    return sum(agent["link"] == "connected" for agent in agents)


def _machines(scheduler: Scheduler) -> list[psutil.Process]:
    return [process for process in scheduler.tree() if command_line(process).startswith("StateMachine")]


def _seconds_to_answer(scheduler: Scheduler) -> float:
    started = time.monotonic()
    assert scheduler.get("/api/v1/jobs").status_code == 200
    return time.monotonic() - started


def test_stopped_state_machines_do_not_hold_up_the_others(tmp_path: Path) -> None:
    with (
        fleet(tmp_path / "fleet", AGENTS) as file,
        running(["serve", "--agents-file", str(file)], tmp_path / "scheduler") as scheduler,
    ):
        wait_until(lambda: _connected(scheduler) == AGENTS, "all connected", 40)
        before = statistics.median(_seconds_to_answer(scheduler) for _ in range(20))
        hung = _machines(scheduler)[:HUNG]
        assert len(hung) == HUNG
        for process in hung:
            process.send_signal(signal.SIGSTOP)
        try:
            # More tasks than the hung ones take: each agent gets some, and those that are not hung must run.
            started = time.monotonic()
            assert scheduler.schedule(job("spread", AGENTS * 4)).status_code == 202
            free = (AGENTS - HUNG) * 3

            def enough_run() -> bool:
                return sum(status == "running" for status in scheduler.statuses("spread").values()) >= free

            wait_until(enough_run, "the tasks on the agents that are not hung", 15)
            assert time.monotonic() - started < 15
            after = statistics.median(_seconds_to_answer(scheduler) for _ in range(20))
            assert after < max(20 * before, 0.5), "the API answers as before"
        finally:
            for process in hung:
                process.send_signal(signal.SIGCONT)
        scheduler.wait_running("spread", AGENTS * 4, 40)
