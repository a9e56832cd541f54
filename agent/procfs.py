"""What /proc says of processes: cheap enough to ask about thousands of them every few seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import msgspec

_TICK_NANOSECONDS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# A kernel may be built without; looking at every process instead is slower, but the same.
_LISTS_CHILDREN = Path("/proc/thread-self/children").exists()
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Stat(msgspec.Struct, frozen=True):
    """One process: CPU time includes the children it has waited for."""

    pid: int
    state: str
    parent: int
    session: int
    cpu_nanoseconds: int
    start_ticks: int
    memory_bytes: int


def read_stat(pid: int) -> Stat | None:
    """One process, or None if there is none with this pid."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - a Path costs more than the read
            content = file.read()
    except OSError:
        return None
    # The name in parentheses may contain anything, spaces and parentheses too. Fields after it, from 3 on.
    fields = content[content.rindex(b")") + 2 :].split()
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_nanoseconds=sum(map(int, fields[11:15])) * _TICK_NANOSECONDS,
        start_ticks=int(fields[19]),
        memory_bytes=int(fields[21]) * _PAGE_BYTES,
    )


def all_stats() -> Iterator[Stat]:
    """Every process of the host."""
    for name in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            yield stat


def descendants(pid: int) -> list[int]:
    """The living children of a process, their children, and so on, whatever session they are in."""
    found: list[int] = []
    todo = [pid]
    while todo:
        below = children(todo.pop())
        found += below
        todo += below
    return found


def children(pid: int) -> list[int]:
    """The living children of a process, those of all its threads."""
    if not _LISTS_CHILDREN:
        return [stat.pid for stat in all_stats() if stat.parent == pid]
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - as above
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123 - as above
                found += map(int, file.read().split())
    except OSError:
        pass  # the process has ended meanwhile
    return found


def command_line(pid: int) -> bytes:
    """What a process was called with, each word ended by NUL; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except OSError:
        return b""


def namespace(pid: int, kind: str) -> str:
    """Which namespace of a kind ("pid") a process is in; empty if there is none, or we may not know."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115 - as text, not to be followed
    except OSError:
        return ""


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Which boot of the host this is: start times only compare within one."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
