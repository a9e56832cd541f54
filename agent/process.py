"""The `process` driver: a task is a plain process of the agent's user, in a session of its own.

Each has a small shell above it (shim.sh) that outlives the agent and writes down how the task ended.
Both share one process group, so one signal reaches the whole task; the shim lives through all but
KILL, and a shim that is gone without a word was therefore killed. Where there are cgroups, the task is in
some of its own; without them, a process that has left both its session and its parents is not found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent import procfs
from agent.cgroup import Cgroups
from agent.driver import Entry, Process
from agent.ending import make_room, read_exit, read_ooms, write_killed
from agent.files import files_limit
from agent.store import ProcessMark
from agent.task import DEFAULT_PATH, StartError, Task, places
from agent.user import User
from scheduling.container import ExitStatus
from scheduling.job import Limits

_SHIM = Path(__file__).with_name("shim.sh")
# Linux: 32 pages for one argument or variable, and a pointer to each counts towards the sum.
_LONGEST_WORD_BYTES = 32 * 4096
_POINTER_BYTES = 8


class ProcessDriver:
    """Runs tasks as plain processes; in `cgroups` of their own, where they can be made."""

    name = "process"
    # What is between shim and task for as long as the task runs, by how its command line begins.
    wrapper = b""

    def __init__(self, cgroups: Cgroups | None = None, user: User | None = None) -> None:
        self._cgroups = cgroups
        self._user = user
        self._shell = shutil.which("sh", path=DEFAULT_PATH) or "/bin/sh"
        self._env = shutil.which("env", path=DEFAULT_PATH) or "/usr/bin/env"

    def start(self, task: Task) -> Process:
        """Start a task's shim, which waits for `release`. Raises StartError, and OSError for a full disk."""
        make_room(task.directory)
        words = self._words(task)
        if "=" in words[0]:
            # `env` would take it for one more variable.
            words = [self._shell, "-c", 'exec "$0" "$@"', *words]
        words_of_env = [f"{name}={value}" for name, value in self._variables(task).items()]
        _check_length(task, [*words, *words_of_env])
        # What is around the task hands these to the kernel once more.
        _check_length(
            task,
            [str(task.program), *task.arguments, *(f"{name}={value}" for name, value in task.env.items())],
        )
        variables = " ".join(map(shlex.quote, words_of_env))
        above = "\n".join([*self._above(task), self._env])
        try:
            limits = self._limits(task.limits)
            groups = self._cgroups.make(task.directory.name, limits, task.share) if self._cgroups else []
        except OSError as error:
            raise StartError(f"cannot limit {task.program}: {error}") from error
        try:
            shim = subprocess.Popen(
                [
                    *(self._shell, str(_SHIM), str(task.directory), self._files(task)),
                    *("\n".join(map(str, groups)), above, *words),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=task.directory / "root" if task.own_root else task.working_dir,
                env={},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            if self._cgroups is not None:
                self._cgroups.remove(task.directory.name)
            raise StartError(f"cannot start {task.program}: {error}") from error
        process = _ShimmedProcess(self, _mark(shim.pid), task.directory, os.pidfd_open(shim.pid))
        process.hold(shim, variables)
        return process

    def _limits(self, limits: Limits) -> Limits:
        """What the task's groups are limited to."""
        return limits

    def _files(self, task: Task) -> str:
        """The limits of open files that the shim sets, soft and hard; "" leaves those that it has."""
        soft, hard = files_limit(task.files)
        return f"{soft}:{hard}"

    def _above(self, _task: Task) -> list[str]:
        """The words before `env`."""
        return self._user.above() if self._user is not None else []

    def _variables(self, task: Task) -> Mapping[str, str]:
        """What `env` sets for the first of `_words`."""
        return task.env

    def _words(self, task: Task) -> list[str]:
        """The task, with what makes its surroundings. Raises StartError."""
        return [str(task.program), *task.arguments]

    def find(self, mark: ProcessMark, directory: Path) -> Process | None:
        """The living task with this mark; None if it has ended."""
        try:
            descriptor = os.pidfd_open(mark.pid)
        except OSError:
            return None
        # Compared only now: from here on the descriptor means the process that was looked at.
        stat = procfs.read_stat(mark.pid)
        if stat is None or stat.state in "ZX" or mark != _mark(mark.pid, stat):
            os.close(descriptor)
            return None
        return _ShimmedProcess(self, mark, directory, descriptor)

    def collect(self, directory: Path) -> ExitStatus | None:
        """How a task ended while no agent watched it."""
        if self._cgroups is not None:
            write_killed(directory, self._cgroups.ooms(directory.name))
            self._cgroups.remove(directory.name)
        return read_exit(directory, passed_on=bool(self.wrapper))

    def ooms(self, directory: Path) -> int:
        """How often the kernel ended a process of it for want of memory."""
        return read_ooms(directory)

    def kill(self, task: str) -> None:
        """End all processes of a task (its id) that are in its cgroup."""
        if self._cgroups is not None:
            self._cgroups.kill(task)

    def members(self, task: str) -> list[int]:
        """The processes in the cgroup of a task (its id)."""
        return self._cgroups.processes(task) if self._cgroups is not None else []

    def is_inside(self, _pid: int) -> bool:
        """Whether a process below a shim has got to where the task is to be."""
        return True

    def enter(self, pid: int, task: Task, words: list[str], *, env: Mapping[str, str], tty: bool) -> Entry:
        """How a command gets to where the program `pid` of a task is."""
        del pid  # it has the host's namespaces
        return self._entry(task, words, env=env, tty=tty)

    def _entry(self, task: Task, words: list[str], *, env: Mapping[str, str], **more: Any) -> Entry:
        groups = self._cgroups.groups(task.directory.name) if self._cgroups is not None else []
        return Entry(
            words=words,
            programs=places(task, words[0]),
            env={**task.env, **env},
            working_dir=str(task.working_dir),
            files=files_limit(task.files),
            groups=list(map(str, groups)),
            user=(self._user.uid, self._user.gid) if self._user is not None else None,
            **more,
        )

    def sweep(self, gone: Mapping[Path, ProcessMark]) -> None:
        """End what tasks that have ended without an agent left behind, in one pass over all processes."""
        outputs = {
            mark.pid: str((directory / "output").resolve())
            for directory, mark in gone.items()
            if mark.boot_id == procfs.boot_id()
        }
        for stat in procfs.all_stats() if outputs else ():
            # The session's number may be another one's by now: only who writes to our file is meant.
            output = outputs.get(stat.session)
            if output is not None and output in (_target(stat.pid, 1), _target(stat.pid, 2)):
                _signal(stat.pid, signal.SIGKILL)


class _ShimmedProcess:
    """A task under its shim. The agent that started it has the `_shim`, and quoted `_variables` for it."""

    def __init__(self, driver: ProcessDriver, mark: ProcessMark, directory: Path, descriptor: int) -> None:
        self.mark = mark
        self.descriptor = descriptor
        self._driver = driver
        self._directory = directory
        self._shim: subprocess.Popen[bytes] | None = None
        self._variables = ""
        self._outside: set[ProcessMark] = set()

    def hold(self, shim: subprocess.Popen[bytes], variables: str) -> None:
        """Keep what `release` gives to the shim."""
        self._shim, self._variables = shim, variables

    def release(self) -> None:
        if self._shim is not None and self._shim.stdin is not None:
            with self._shim.stdin as stdin:
                stdin.write(b"go\n" + os.fsencode(self._variables) + b"\n")

    def terminate(self) -> bool:
        # A task is asked once: many programs take a second TERM for "at once". But between its fork and
        # its exec it still has the shim's handler, which does nothing, and the signal would be lost.
        begun = self._begun()
        if begun and self._driver.wrapper:
            # What is around the task would end at once, and the task with it.
            for pid in begun:
                _signal(pid, signal.SIGTERM)
        elif begun:
            self._signal_all(signal.SIGTERM)
        return bool(begun)

    def send(self, number: signal.Signals) -> bool:
        # To the program alone, as a user of `kill` means it: it knows what to tell those it has started.
        begun = self._begun()
        for pid in begun[:1] if self._driver.wrapper else begun:
            _signal(pid, number)
        return bool(begun)

    def enter(self, task: Task, words: list[str], *, env: Mapping[str, str], tty: bool) -> Entry | None:
        begun = self._begun()
        return self._driver.enter(begun[0], task, words, env=env, tty=tty) if begun else None

    def kill(self) -> None:
        self._driver.kill(self._directory.name)
        self._signal_all(signal.SIGKILL)

    def collect(self) -> ExitStatus | None:
        # First the rest of the group, then the shim: until it is waited for, its pid is not reused.
        self._signal_group(signal.SIGKILL)
        for mark in self._outside:
            if _mark(mark.pid) == mark:
                _signal(mark.pid, signal.SIGKILL)
        os.close(self.descriptor)
        if self._shim is not None:
            if self._shim.stdin is not None:
                self._shim.stdin.close()
            self._shim.wait()
        return self._driver.collect(self._directory)

    def _begun(self) -> list[int]:
        """The task's own processes, without shim and wrapper; none while it is about to begin."""
        shim, wrapper = procfs.command_line(self.mark.pid), self._driver.wrapper
        found = procfs.descendants(self.mark.pid) if wrapper else procfs.children(self.mark.pid)
        return [
            pid
            for pid in found
            if (line := procfs.command_line(pid)) != shim
            and not (wrapper and line.startswith(wrapper))
            and self._driver.is_inside(pid)
        ]

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the group, and those of the task that left it by a session of their own."""
        self._outside |= {
            _mark(pid, stat)
            for pid in {*procfs.descendants(self.mark.pid), *self._driver.members(self._directory.name)}
            if (stat := procfs.read_stat(pid)) is not None and stat.session != self.mark.pid
        }
        self._signal_group(number)
        for mark in self._outside:
            if _mark(mark.pid) == mark:
                _signal(mark.pid, number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.mark.pid, number)


def _check_length(task: Task, words: list[str]) -> None:
    """What the kernel would refuse only when the shim is at it. Raises StartError."""
    lengths = [len(os.fsencode(word)) + _POINTER_BYTES for word in words]
    if max(lengths) >= _LONGEST_WORD_BYTES or sum(lengths) >= os.sysconf("SC_ARG_MAX") - _LONGEST_WORD_BYTES:
        raise StartError(f"cannot start {task.program}: {os.strerror(errno.E2BIG)}")


def _mark(pid: int, stat: procfs.Stat | None = None) -> ProcessMark:
    stat = stat or procfs.read_stat(pid)
    return ProcessMark(pid, stat.start_ticks if stat else -1, procfs.boot_id())


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _target(pid: int, descriptor: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 - as text, not to be followed
    except OSError:
        return ""
