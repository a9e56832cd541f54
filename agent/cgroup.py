"""A task's cgroups: its ends of memory, CPU and processes, and all of its processes, wherever they went.

A group for each task, in a group for the agent's data directory, in each hierarchy that is needed:

    …/harpoon-KEY/t-ID

The shim (shim.sh) stays outside: it has the task enter, and when that has ended it counts the kills for
want of memory, ends what is left in the group, and removes it. What it can't, the agent does.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.hierarchies import CONTROLLERS, Hierarchy
from config.bounds import CGROUP_EMPTY_SECONDS
from scheduling.job import Limits

_PERIOD_MICROSECONDS = 100_000
_BYTES_PER_MB = 1024 * 1024
_FULL_SHARES = 262_144
_TRIES = 5
# Parts of a group's name: a task may be called like one of the kernel's own files.
_OURS, _TASK = "harpoon-", "t-"
# No task's id begins with a dot.
_TRIAL = _TASK + ".trial"


class Cgroups:
    """The groups of one data directory. `limits` names what they enforce; empty where they can't be made."""

    def __init__(self, data: Path, found: Sequence[Hierarchy] = (), place: str = "") -> None:
        """Try what the host lets us; `place` is the group to be in, below the top of each hierarchy."""
        self._name = group_name(data)
        self._parents: list[tuple[Path, frozenset[str]]] = []
        self._left: set[str] = set()
        self.limits: list[str] = []
        self.problems: list[str] = []
        for hierarchy in found:
            wanted = hierarchy.controllers - {CONTROLLERS[name] for name in self.limits}
            places = (hierarchy.places[-1] / place.lstrip("/"),) if place else hierarchy.places
            self._choose([each / self._name for each in places], wanted)
        self.limits.sort(key=list(CONTROLLERS).index)
        if self._parents:
            self.limits.append("tree")

    def make(self, task: str, limits: Limits, share: float) -> list[Path]:
        """Make a task's groups, the one to end it by first. Raises OSError. `share`: cores it should have."""
        return [self._make(parent, controllers, task, limits, share) for parent, controllers in self._parents]

    def processes(self, task: str) -> list[int]:
        """All living processes of a task."""
        return _processes(self._parents[0][0] / (_TASK + task)) if self._parents else []

    def ooms(self, task: str) -> int:
        """How often the kernel ended a process of a task for want of memory."""
        return max((_ooms(group) for group in self.groups(task)), default=0)

    def kill(self, task: str) -> None:
        """End all processes of a task."""
        for group in self.groups(task)[:1]:
            _kill(group)

    def remove(self, task: str) -> None:
        """End what is left of a task, and remove its groups; where that takes a moment, `tidy` does it."""
        self.kill(task)
        self._left.add(task)
        self.tidy()

    def tidy(self) -> None:
        """Remove the groups that were not empty yet when their task was removed."""
        self._left = {task for task in self._left if not all(map(_rmdir, self.groups(task)))}
        for parent, _ in self._parents:
            # Refused while there is another task's group.
            _rmdir(parent)

    def tasks(self) -> set[str]:
        """All tasks that have groups."""
        found = set()
        for parent, _ in self._parents:
            with contextlib.suppress(OSError):
                found |= {path.name.removeprefix(_TASK) for path in parent.iterdir() if path.is_dir()}
        return found

    def remove_all(self, tasks: Iterable[str]) -> None:
        """Remove the groups of several tasks; waits for it."""
        for task in tasks:
            self.kill(task)
            for group in self.groups(task):
                _remove(group)
        self.tidy()

    def groups(self, task: str) -> list[Path]:
        """The groups that a task has."""
        paths = (parent / (_TASK + task) for parent, _ in self._parents)
        return [path for path in paths if path.is_dir()]

    def _make(
        self, parent: Path, controllers: frozenset[str], task: str, limits: Limits, share: float
    ) -> Path:
        group = parent / (_TASK + task)
        self._left.discard(task)
        for attempt in range(_TRIES):
            try:
                _make_parent(parent, controllers)
                if group.is_dir():
                    _remove(group)
                group.mkdir(exist_ok=True)
                break
            except FileNotFoundError:
                # The shim of the last task that ended removes the parent.
                if attempt == _TRIES - 1:
                    raise
        for name, value in _settings(group, controllers, limits, share):
            (group / name).write_text(value)
        return group

    def _choose(self, parents: Sequence[Path], controllers: frozenset[str]) -> None:
        """Take the first place of a hierarchy where groups do what is wanted."""
        # Without controllers a group still holds all processes of a task together: one hierarchy is for that.
        for held in (controllers, frozenset[str]()) if controllers else (controllers,):
            for parent in parents if held or not self._parents else ():
                try:
                    self._try(parent, held)
                except OSError as error:
                    self.problems.append(f"{parent.parent}: {error.strerror or error}")
                else:
                    self._parents.append((parent, held))
                    self.limits += [name for name, each in CONTROLLERS.items() if each in held]
                    return

    def _try(self, parent: Path, controllers: frozenset[str]) -> None:
        """Make a group with all limits, and put a process into it. Raises OSError that says what failed."""
        group = parent / _TRIAL
        try:
            self._make(parent, controllers, _TRIAL.removeprefix(_TASK), Limits(mem=64, cpu=1.0, pids=64), 1.0)
            _put_a_process_in(group)
        finally:
            _remove(group)
            _rmdir(parent)


def group_name(data: Path) -> str:
    """What the group for all tasks of a data directory is called."""
    return _OURS + hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]


def _make_parent(parent: Path, controllers: frozenset[str]) -> None:
    """The group for all tasks. v2: a controller counts below a group only where that says so."""
    if parent.is_dir():
        return
    parent.mkdir()
    with contextlib.suppress(OSError):
        # v1: tasks share what their group gets, and one group among processes would get little.
        if (shares := parent / "cpu.shares").exists():
            shares.write_text(str(min((os.cpu_count() or 1) * 1024, _FULL_SHARES)))
    if controllers and (parent / "cgroup.controllers").exists():
        enabled = " ".join(f"+{controller}" for controller in sorted(controllers))
        for above in (parent.parent, parent):
            (above / "cgroup.subtree_control").write_text(enabled)


def _settings(
    group: Path, controllers: frozenset[str], limits: Limits, share: float
) -> Iterable[tuple[str, str]]:
    """Which file of a new group gets what."""
    shares = min(max(round(share * 1024), 2), _FULL_SHARES)
    quota = max(math.ceil(limits.cpu * _PERIOD_MICROSECONDS), 1000)
    memory = str(limits.mem * _BYTES_PER_MB)
    v2 = (group / "cgroup.controllers").exists()
    if "memory" in controllers and limits.mem:
        yield "memory.max" if v2 else "memory.limit_in_bytes", memory
        swap = "memory.swap.max" if v2 else "memory.memsw.limit_in_bytes"
        if (group / swap).exists():
            yield swap, "0" if v2 else memory
    if "cpu" in controllers:
        # The usual way from shares to a weight, as runc does it.
        weight = 1 + (shares - 2) * 9999 // (_FULL_SHARES - 2)
        yield ("cpu.weight", str(weight)) if v2 else ("cpu.shares", str(shares))
        if limits.cpu and v2:
            yield "cpu.max", f"{quota} {_PERIOD_MICROSECONDS}"
        elif limits.cpu:
            yield "cpu.cfs_period_us", str(_PERIOD_MICROSECONDS)
            yield "cpu.cfs_quota_us", str(quota)
    if "pids" in controllers and limits.pids:
        yield "pids.max", str(limits.pids)


def _put_a_process_in(group: Path) -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read -r _"], stdin=subprocess.PIPE) as probe:
        try:
            (group / "cgroup.procs").write_text(str(probe.pid))
            if _processes(group) != [probe.pid]:
                raise OSError("a process put into a group is not in it")
        finally:
            probe.kill()


def _processes(group: Path) -> list[int]:
    try:
        return [int(line) for line in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []


def _ooms(group: Path) -> int:
    for name in ("memory.events", "memory.oom_control"):
        with contextlib.suppress(OSError, ValueError):
            pairs = (line.split() for line in (group / name).read_text().splitlines())
            return int(dict(pairs)["oom_kill"])
    return 0


def _kill(group: Path) -> None:
    with contextlib.suppress(OSError):
        if (group / "cgroup.kill").exists():
            (group / "cgroup.kill").write_text("1")
            return
        if (group / "pids.max").exists():
            (group / "pids.max").write_text("0")
        for pid in _processes(group):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _remove(group: Path) -> None:
    deadline = time.monotonic() + CGROUP_EMPTY_SECONDS
    while not _rmdir(group) and time.monotonic() < deadline:
        _kill(group)
        time.sleep(0.002)


def _rmdir(group: Path) -> bool:
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
