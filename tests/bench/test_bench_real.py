"""The benchmark on a real scheduler with a few agents, and the quick part as CI runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import psutil
import pytest

from bench.cycles import run_cycle
from bench.programs import fleet, scheduler
from bench.report import read_report

_REPOSITORY = Path(__file__).resolve().parents[2]


def test_a_real_scheduler_runs_every_task_once_and_takes_all_away(tmp_path: Path) -> None:
    with (
        fleet(5, tmp_path / "fleet") as simulated,
        scheduler(simulated, 5, tmp_path / "scheduler") as running,
    ):
        cycle = run_cycle(running, simulated, 40, "job", 60.0)
        stats = simulated.stats()
        assert (stats["tasks_started"], stats["most_starts_of_a_task"]) == (40, 1)
        assert (stats["containers"], stats["running"]) == (0, 0)
        assert cycle.schedule.requests >= 80
        assert cycle.unschedule.scheduler_cpu > 0
        assert "state machines" in cycle.schedule.scheduler_cpu_by_kind


def test_the_quick_part_measures_saves_draws_and_compares(tmp_path: Path) -> None:
    saved, drawn = tmp_path / "run.json", tmp_path / "run.svg"
    parts = ["--only", "sizes", "placement", "--sizes", "1,1", "2,20", "--runs", "1"]
    first = _bench(tmp_path, *parts, "--quick", "--json", str(saved), "--plot", str(drawn))
    assert first.returncode == 0, first.stderr
    report = read_report(saved)
    assert [(size.agents, size.tasks) for size in report.sizes] == [(1, 1), (2, 20)]
    assert all(size.schedule.floor_seconds > 0 for size in report.sizes)
    assert all(one.repeatable and one.placed == one.tasks for one in report.placement)
    assert "| 2, 20 |" in first.stdout
    assert ET.parse(drawn).getroot().tag.endswith("svg")

    again = _bench(tmp_path, "--only", "placement", "--quick", "--compare", str(saved))
    assert "placement µs a task" in again.stdout
    assert not list(tmp_path.glob("harpoon-bench-*"))


def test_an_agent_is_measured_and_nothing_is_left_of_its_tasks(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    done = _bench(tmp_path, "--only", "agent", "--quick", "--json", str(saved))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    found = read_report(saved).agent
    assert found is not None
    assert (found.tasks, found.samples) == (50, 5)
    assert found.start_a_second > 0
    assert 0 < found.median_seconds <= found.slowest_seconds
    assert 10 < found.agent_mb < 100
    assert "An agent with 50 tasks" in done.stdout
    shims = [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in str(each.info["cmdline"])]
    assert shims == []


def test_members_are_measured_each_by_itself(tmp_path: Path) -> None:
    """Each host follows as many agents, the leader too, and tells what it has used and said."""
    saved = tmp_path / "run.json"
    size = ["--members", "2", "--agents", "5", "--tasks", "10"]
    done = _bench(tmp_path, "--only", "members", *size, "--json", str(saved))
    assert done.returncode == 0, done.stderr
    found = read_report(saved).members
    assert found is not None
    assert (found.agents, found.tasks, found.most_starts) == (5, 10, 1)
    leader, *members = found.hosts
    assert [(host.name, host.flocks, host.agents) for host in found.hosts] == [
        ("leader", 1, 2),
        ("member-1", 1, 2),
        ("member-2", 1, 1),
    ]
    # The launcher, Thespian's admin and logger, the flock and its state machines.
    assert [host.processes for host in members] == [4 + host.agents for host in members]
    assert all(host.pss_mb > 0 and host.connect_cpu_seconds > 0 for host in found.hosts)
    # To say who it follows, each member sends something for each agent, and for each with a task.
    assert all(host.connect_messages > host.agents for host in members)
    assert all(host.schedule_messages > 0 and host.schedule_us > 0 for host in found.hosts)
    assert leader.connect_messages > max(member.connect_messages for member in members)
    assert "| member-2 | 1 | 1 |" in done.stdout


def test_what_a_killed_benchmark_has_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    left, alive = tmp_path / f"harpoon-bench-{ended.pid}-x", tmp_path / f"harpoon-bench-{os.getpid()}-x"
    left.mkdir()
    alive.mkdir()
    assert _bench(tmp_path, "--only", "placement", "--quick").returncode == 0
    assert list(tmp_path.glob("harpoon-bench-*")) == [alive]


@pytest.mark.parametrize(
    "part", [("sizes", "--sizes", "3,100"), ("members", "--members", "2", "--agents", "6")]
)
def test_a_benchmark_that_is_killed_leaves_no_process(tmp_path: Path, part: tuple[str, ...]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with subprocess.Popen(
            [sys.executable, "-m", "bench", "--only", *part, "--directory", str(tmp_path)],
            env=_environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            _wait(lambda: any("StateMachine" in line for line in _lines(process.pid)), "actors run")
            below = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(number)
        _wait(lambda below=below: not any(map(_alive, below)), "nothing is left")


def _bench(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments, "--directory", str(directory)],
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def _lines(pid: int) -> list[str]:
    lines = []
    for process in psutil.Process(pid).children(recursive=True):
        try:
            lines.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return lines


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _wait(condition: object, what: str, timeout_seconds: float = 30.0) -> None:
    give_up_at = time.monotonic() + timeout_seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {timeout_seconds} s: {what}"
        time.sleep(0.02)
