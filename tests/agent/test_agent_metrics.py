"""What a task uses, summed over its processes; and what /proc says of a process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent import procfs
from agent.metrics import sample
from agent.procfs import Stat, all_stats, descendants, read_stat
from scheduling.container import Metrics


def stat(pid: int, parent: int, session: int, cpu: int = 1, memory: int = 100) -> Stat:
    return Stat(pid, "S", parent, session, cpu, 0, memory)


def test_everything_below_the_shim_counts_and_the_shim_does_not() -> None:
    stats = [
        stat(1, 0, 1, 1000, 1000),
        stat(10, 1, 10, 1000, 1000),  # the shim of a
        stat(11, 10, 10, 1, 1),  # its task,
        stat(12, 11, 10, 2, 2),  # a child of it,
        stat(13, 12, 13, 4, 4),  # one that made a session of its own,
        stat(14, 1, 10, 8, 8),  # and one whose parent has ended
        stat(20, 1, 20, 1000, 1000),  # the shim of b
        stat(21, 20, 20, 16, 16),
        stat(30, 1, 30, 1000, 1000),  # a stranger
    ]
    assert sample({"a": 10, "b": 20, "gone": 99}, stats) == {
        "a": Metrics(cpu_time=15, memory_usage=15),
        "b": Metrics(cpu_time=16, memory_usage=16),
        "gone": Metrics(),
    }


def test_what_proc_says_of_this_process() -> None:
    mine = read_stat(os.getpid())
    assert mine is not None
    assert (mine.pid, mine.parent, mine.session) == (os.getpid(), os.getppid(), os.getsid(0))
    assert mine.memory_bytes > 1_000_000
    assert mine.cpu_nanoseconds > 0
    assert os.getpid() in {stat.pid for stat in all_stats()}
    assert read_stat(2**22 + 1) is None


@pytest.mark.parametrize("listed", [True, False])
def test_descendants_are_found_in_whatever_session(listed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(procfs, "_LISTS_CHILDREN", listed)
    script = "setsid sh -c 'sleep 100 & echo $!; wait' & wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, start_new_session=True) as parent:
        assert parent.stdout is not None
        sleeper = int(parent.stdout.readline())
        try:
            found = descendants(parent.pid)
            assert sleeper in found
            assert len(found) == 2
        finally:
            for pid in [*descendants(parent.pid), parent.pid]:
                os.kill(pid, 9)


def test_a_name_that_looks_like_fields_does_not_confuse(tmp_path: Path) -> None:
    program = tmp_path / ") S 1 1 ("
    shutil.copy(shutil.which("sleep") or "", program)
    with subprocess.Popen([program, "100"]) as sleeper:
        try:
            stat = read_stat(sleeper.pid)
            assert stat is not None
            assert stat.parent == os.getpid()
        finally:
            sleeper.kill()
