"""The launcher's other processes: in sessions of their own, watched by pidfd, swept at the end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Sequence

import psutil


class Helper:
    """A program that the launcher keeps running: when it dies it is started anew, by whoever watches."""

    def __init__(self, name: str, command: Sequence[str], *, pass_fds: tuple[int, ...] = ()) -> None:
        self.name = name
        # A session of its own: Ctrl-C in a terminal reaches the launcher only, which ends it in order.
        self._process = subprocess.Popen(
            command, pass_fds=pass_fds, stdin=subprocess.DEVNULL, start_new_session=True, close_fds=True
        )
        self.pidfd = os.pidfd_open(self._process.pid)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ended(self) -> int | None:
        """Its exit code, once it has one."""
        return self._process.poll()

    def terminate(self) -> None:
        """Ask it to end."""
        if self.ended() is None:
            self._process.terminate()

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.pidfd)


def descendants() -> list[psutil.Process]:
    """All processes below this one; orphans among them have been adopted."""
    return psutil.Process().children(recursive=True)


def kill_tree(pid: int) -> None:
    """SIGKILL a process; those tied to it die with it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def reap_orphans(own: set[int]) -> None:
    """Take the exit status of adopted processes, but not of our own helpers, who are waited for elsewhere."""
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
            if ended.si_pid in own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)


def sweep() -> None:
    """SIGKILL every descendant, again until none is left: nothing may stay behind."""
    for _ in range(50):
        reap_orphans(set())
        left = [process for process in descendants() if _alive(process)]
        if not left:
            return
        for process in left:
            kill_tree(process.pid)
        time.sleep(0.02)


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
