"""What processes use: CPU to the nanosecond, memory, also that of a whole tree by kind of process."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from bench.programs import descendants

_CPUCLOCK_SCHED = 2
_PSS = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_RSS = re.compile(rb"^Rss:\s+(\d+) kB", re.MULTILINE)


class Memory(msgspec.Struct, frozen=True):
    """Of a tree of processes, in MB; PSS counts what several share once, RSS each time."""

    pss_mb: float
    rss_mb: float
    processes: int


def cpu_seconds(pid: int) -> float:
    """User and system time of one process, threads that ended included; 0 for one that is gone.

    The process' own clock counts nanoseconds. /proc rounds down to 10 ms for each, which is too coarse
    for a thousand processes with a few milliseconds each.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def busy_seconds() -> float:
    """CPU seconds that all processes of the machine have used; what others use makes figures worse."""
    user, nice, system, _idle, _iowait, irq, softirq = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class TreeUsage:
    """The CPU of a process and all below it, by kind. The tree is looked up once: it must not change.

    Of several hosts (name → process), what is told by kind is told by host.
    """

    def __init__(self, root: int | Mapping[str, int]) -> None:
        if isinstance(root, int):
            self._kinds = {process: kind(process) for process in _tree(root)}
        else:
            self._kinds = {process: host for host, pid in root.items() for process in _tree(pid)}

    def cpu_by_kind(self) -> dict[str, float]:
        """Seconds so far."""
        found: dict[str, float] = {}
        for pid, name in self._kinds.items():
            found[name] = found.get(name, 0.0) + cpu_seconds(pid)
        return found

    def memory(self) -> Memory:
        """Of all together."""
        pss = rss = processes = 0
        for pid in self._kinds:
            one_pss, one_rss = _memory_kb(pid)
            pss, rss, processes = pss + one_pss, rss + one_rss, processes + (one_pss > 0)
        return Memory(pss / 1024, rss / 1024, processes)

    def memory_by_kind(self) -> dict[str, tuple[int, float]]:
        """How many processes of each kind, and their PSS in MB."""
        found: dict[str, tuple[int, float]] = {}
        for pid, name in self._kinds.items():
            count, pss = found.get(name, (0, 0.0))
            found[name] = (count + 1, pss + _memory_kb(pid)[0] / 1024)
        return found


def spent(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """The difference, largest first."""
    used = {name: seconds - before.get(name, 0.0) for name, seconds in after.items()}
    return dict(sorted(used.items(), key=lambda item: -item[1]))


def kind(pid: int) -> str:
    """What sort of process of the scheduler this is, by its title."""
    try:
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return "gone"
    for beginning, name in _KINDS.items():
        if beginning in title:
            return name
    return "other" if title else "gone"


# Thespian's actors are titled by their class, gunicorn's processes by their role.
_KINDS = {
    "StateMachine ": "state machines",
    "Flock ": "flocks",
    "Supervisor ": "supervisor",
    "Registry ": "registry",
    "Scheduler ": "scheduler",
    "Transformer ": "transformer",
    "Shepherd ": "shepherd",
    "Discovery ": "discovery",
    "MultiProcAdmin ": "admin",
    "logger ": "logger",
    "harpoon-web": "web",
    "web.server": "web",
    "actors.main": "launcher",
}


def _tree(pid: int) -> list[int]:
    return [pid, *(process.pid for process in descendants(pid))]


def _memory_kb(pid: int) -> tuple[int, int]:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_bytes()
    except OSError:
        return 0, 0
    pss, rss = _PSS.search(text), _RSS.search(text)
    return (int(pss[1]) if pss else 0), (int(rss[1]) if rss else 0)
