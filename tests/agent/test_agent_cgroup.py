"""Finding the cgroups of a host, and what is written into them: v1, v2 and both beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent import cgroup
from agent.cgroup import Cgroups
from agent.hierarchies import Hierarchy, hierarchies
from scheduling.job import Limits

V1 = """\
25 30 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:10 - cgroup cgroup rw,cpu,cpuacct
26 30 0:23 / /sys/fs/cgroup/memory rw,nosuid shared:11 - cgroup cgroup rw,memory
27 30 0:24 / /sys/fs/cgroup/systemd rw,nosuid shared:12 - cgroup cgroup rw,xattr,name=systemd
28 30 0:25 / /sys/fs/cgroup/my\\040pids rw,nosuid shared:13 - cgroup cgroup rw,pids
29 30 0:26 / /sys/fs/cgroup/freezer rw,nosuid shared:14 - cgroup cgroup rw,freezer
"""
OWN_V1 = "5:name=systemd:/a\n4:cpu,cpuacct:/sys.slice\n3:memory:/docker/abc\n2:pids:/\n1:freezer:/\n"


def test_v1_has_a_tree_for_each_controller() -> None:
    assert hierarchies(V1, OWN_V1) == [
        Hierarchy(1, frozenset({"cpu"}), _paths("cpu,cpuacct/sys.slice", "cpu,cpuacct")),
        Hierarchy(1, frozenset({"memory"}), _paths("memory/docker/abc", "memory")),
        Hierarchy(1, frozenset({"pids"}), _paths("my pids")),
    ]


def test_where_only_a_part_is_mounted_we_are_below_that() -> None:
    mounts = V1.replace(" 0:23 / ", " 0:23 /docker ").replace("0:23 /docker", "0:23 /docker")
    found = hierarchies(mounts, OWN_V1)
    assert found[1].places == _paths("memory/abc", "memory")


def test_v2_comes_first_and_says_what_it_controls(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
    mounts = V1 + f"35 30 0:30 / {tmp_path} rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
    found = hierarchies(mounts, OWN_V1 + "0::/user.slice\n")
    expected = (tmp_path / "user.slice", tmp_path)
    assert found[0] == Hierarchy(2, frozenset({"cpu", "memory", "pids"}), expected)
    assert [each.version for each in found] == [2, 1, 1, 1]


def test_a_process_out_of_what_is_mounted_is_at_the_top(tmp_path: Path) -> None:
    mounts = f"35 30 0:30 /inner {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert hierarchies(mounts, "0::/elsewhere\n")[0].places == (tmp_path,)


ALL = frozenset({"memory", "cpu", "pids"})
LIMITS = Limits(mem=64, cpu=0.5, pids=9)


def test_what_is_written_for_v1(tmp_path: Path) -> None:
    (tmp_path / "memory.memsw.limit_in_bytes").touch()
    assert dict(cgroup._settings(tmp_path, ALL, LIMITS, 0.25)) == {
        "memory.limit_in_bytes": "67108864",
        "memory.memsw.limit_in_bytes": "67108864",
        "cpu.shares": "256",
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "50000",
        "pids.max": "9",
    }


def test_what_is_written_for_v2(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "memory.swap.max").touch()
    assert dict(cgroup._settings(tmp_path, ALL, LIMITS, 1.0)) == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "cpu.weight": "39",
        "cpu.max": "50000 100000",
        "pids.max": "9",
    }


def test_no_limit_is_no_line(tmp_path: Path) -> None:
    assert dict(cgroup._settings(tmp_path, ALL, Limits(), 0.0)) == {"cpu.shares": "2"}
    assert dict(cgroup._settings(tmp_path, frozenset(), LIMITS, 1.0)) == {}


@pytest.mark.parametrize("name", ["memory.events", "memory.oom_control"])
def test_ooms_are_read_from_either_version(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("low 0\noom 7\noom_kill 3\n")
    assert cgroup._ooms(tmp_path) == 3


def test_a_host_that_lets_us_make_none_has_none(tmp_path: Path) -> None:
    nowhere = Hierarchy(1, ALL, (Path("/proc/nowhere"),))
    made = Cgroups(tmp_path, [nowhere])
    assert made.limits == []
    assert made.problems
    assert made.make("t", LIMITS, 1.0) == []
    assert made.tasks() == set()


def _paths(*below: str) -> tuple[Path, ...]:
    return tuple(Path("/sys/fs/cgroup") / path for path in below)
