"""The `process` driver: a task is a plain process of the agent's user, in a session of its own.

Each has a small shell above it (shim.sh) that outlives the agent and writes down how the task ended.
Both share one process group, so one signal reaches the whole task; the shim lives through all but
KILL, and a shim that is gone without a word was therefore killed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from agent import procfs
from agent.driver import Process
from agent.store import ProcessMark
from agent.task import DEFAULT_PATH, StartError, Task
from scheduling.container import ExitStatus

_SHIM = Path(__file__).with_name("shim.sh")
# Linux: 32 pages for one argument or variable, and a pointer to each counts towards the sum.
_LONGEST_WORD_BYTES = 32 * 4096
_POINTER_BYTES = 8
_KILLED = ExitStatus(signaled=True, signal=signal.SIGKILL)
# A shell does not remark on these two: 128+2 and 128+13 are taken for the signals they mean by custom.
_UNREMARKED = (signal.SIGINT, signal.SIGPIPE)


class ProcessDriver:
    """Runs tasks as plain processes."""

    name = "process"

    def __init__(self) -> None:
        self._shell = shutil.which("sh", path=DEFAULT_PATH) or "/bin/sh"
        self._env = shutil.which("env", path=DEFAULT_PATH) or "/usr/bin/env"

    def start(self, task: Task) -> Process:
        """Start a task's shim, which waits for `release`. Raises StartError."""
        for old in ("exit", "signaled"):
            (task.directory / old).unlink(missing_ok=True)
        words = [str(task.program), *task.arguments]
        if "=" in words[0]:
            # `env` would take it for one more variable.
            words = [self._shell, "-c", 'exec "$0" "$@"', *words]
        words_of_env = [f"{name}={value}" for name, value in task.env.items()]
        _check_length(task, [*words, *words_of_env])
        variables = " ".join(map(shlex.quote, words_of_env))
        try:
            shim = subprocess.Popen(
                [
                    *(self._shell, str(_SHIM), str(task.directory), str(_files_limit(task.files))),
                    *(self._env, *words),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=task.working_dir,
                env={},
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise StartError(f"cannot start {task.program}: {error}") from error
        return _ShimmedProcess(_mark(shim.pid), task.directory, os.pidfd_open(shim.pid), shim, variables)

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
        return _ShimmedProcess(mark, directory, descriptor, None)

    def collect(self, directory: Path) -> ExitStatus | None:
        """How a task ended while no agent watched it."""
        return read_exit(directory)

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
    """A task under its shim. The agent that started it has the `shim`, and the quoted `variables` for it."""

    def __init__(
        self,
        mark: ProcessMark,
        directory: Path,
        descriptor: int,
        shim: subprocess.Popen[bytes] | None,
        variables: str = "",
    ) -> None:
        self.mark = mark
        self.descriptor = descriptor
        self._directory = directory
        self._shim = shim
        self._variables = variables
        self._outside: set[ProcessMark] = set()

    def release(self) -> None:
        if self._shim is not None and self._shim.stdin is not None:
            with self._shim.stdin as stdin:
                stdin.write(b"go\n" + os.fsencode(self._variables) + b"\n")

    def terminate(self) -> bool:
        # A task is asked once: many programs take a second TERM for "at once". But between its fork and
        # its exec it still has the shim's handler, which does nothing, and the signal would be lost.
        if not self._has_begun():
            return False
        self._signal_all(signal.SIGTERM)
        return True

    def send(self, number: signal.Signals) -> bool:
        # To the program alone, as a user of `kill` means it: it knows what to tell those it has started.
        if not self._has_begun():
            return False
        for child in procfs.children(self.mark.pid):
            _signal(child, number)
        return True

    def kill(self) -> None:
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
        return read_exit(self._directory)

    def _has_begun(self) -> bool:
        shim = procfs.command_line(self.mark.pid)
        return any(procfs.command_line(child) != shim for child in procfs.children(self.mark.pid))

    def _signal_all(self, number: signal.Signals) -> None:
        """Signal the group, and those of the task that left it by a session of their own."""
        self._outside |= {
            _mark(pid, stat)
            for pid in procfs.descendants(self.mark.pid)
            if (stat := procfs.read_stat(pid)) is not None and stat.session != self.mark.pid
        }
        self._signal_group(number)
        for mark in self._outside:
            if _mark(mark.pid) == mark:
                _signal(mark.pid, number)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.mark.pid, number)


def read_exit(directory: Path) -> ExitStatus | None:
    """How a task ended, by what its shim left in `directory`; None if the task never began."""
    try:
        word = (directory / "exit").read_text().strip()
        remark = (directory / "signaled").read_bytes().strip()
    except OSError:
        return _KILLED
    if word == "never":
        return None
    if not word.isdigit():
        return _KILLED
    status = int(word)
    if status > 128 and (remark or status - 128 in _UNREMARKED):
        return ExitStatus(signaled=True, signal=status - 128)
    return ExitStatus(exited=True, exit_status=status)


def _check_length(task: Task, words: list[str]) -> None:
    """What the kernel would refuse only when the shim is at it. Raises StartError."""
    lengths = [len(os.fsencode(word)) + _POINTER_BYTES for word in words]
    if max(lengths) >= _LONGEST_WORD_BYTES or sum(lengths) >= os.sysconf("SC_ARG_MAX") - _LONGEST_WORD_BYTES:
        raise StartError(f"cannot start {task.program}: {os.strerror(errno.E2BIG)}")


def _files_limit(wanted: int) -> int:
    """The limit of open files to set: a task may not have more than the agent may."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


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
