"""What the runtime asks of a driver: start a task, find it again, signal it, say how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from signal import Signals
from typing import Protocol

import msgspec

from agent.store import ProcessMark
from agent.task import Task
from scheduling.container import ExitStatus


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """How one more command gets to where a task is; carried out by agent/enter.py.

    `programs` are the places to look for it, best first, as seen from `working_dir`, which is a place in the
    namespaces of the process `beside`, where one is named. `groups` are the task's cgroups, `user` (uid, gid)
    who to be; `files` the limits of open files, soft and hard; `bare`: without capabilities.
    """

    words: list[str]
    programs: list[str]
    env: dict[str, str]
    working_dir: str
    tty: bool
    files: tuple[int, int] | None = None
    groups: list[str] = []
    user: tuple[int, int] | None = None
    beside: int = 0
    bare: bool = False


class Process(Protocol):
    """A started task. `descriptor` becomes readable when it has ended."""

    @property
    def mark(self) -> ProcessMark:
        """Which process it is, to find it again."""

    @property
    def descriptor(self) -> int:
        """A descriptor that is readable once the task has ended; `collect` closes it."""

    def release(self) -> None:
        """Let the task really begin, after its mark was written down. Raises OSError."""

    def terminate(self) -> bool:
        """Ask all processes of the task to end; False if that is too early, and to be tried again soon."""

    def send(self, number: Signals) -> bool:
        """Send a signal to the task's own program; False if that is too early, or too late."""

    def enter(self, task: Task, words: list[str], *, env: Mapping[str, str], tty: bool) -> Entry | None:
        """How a command gets to where the task is, with `env` besides; None if too early, or too late."""

    def kill(self) -> None:
        """End all processes of the task."""

    def collect(self) -> ExitStatus | None:
        """How the task ended, once it has; ends what it left behind. None: it never began."""


class Driver(Protocol):
    """A way to run tasks."""

    @property
    def name(self) -> str:
        """What jobs and the agent's attributes call it."""

    def start(self, task: Task) -> Process:
        """Start a task and hold it until `release`. Raises StartError, and OSError for a full disk."""

    def find(self, mark: ProcessMark, directory: Path) -> Process | None:
        """The living task with this mark, started by an earlier agent; None if it has ended."""

    def collect(self, directory: Path) -> ExitStatus | None:
        """How a task ended that `find` did not find. None: it never began."""

    def ooms(self, directory: Path) -> int:
        """How often the task that ended last was short of memory, so that the kernel ended some of it."""

    def sweep(self, gone: Mapping[Path, ProcessMark]) -> None:
        """End what is left of tasks (container directory → mark) that `find` did not find."""
