"""Nobody outlives the one who made it: a signal from the kernel at the parent's death.

An actor's parent is the actor that created it, the admin for the first of them; the admin's is the
launcher, which adopts it after the double fork. So whoever dies, all below it die within
milliseconds, `kill -9` included, and nothing depends on a shutdown being reached.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time

LAUNCHER_VARIABLE = "HARPOON_LAUNCHER_PID"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ADOPTION_SECONDS = 5.0
_launcher: int | None = None
_libc = ctypes.CDLL(None, use_errno=True)


def tie_to_parent(expected: int | None = None, sent: signal.Signals = signal.SIGKILL) -> None:
    """Be sent a signal when the parent dies; end at once if it is dead already.

    `expected` is the parent's pid where it is known; otherwise a parent that is the launcher, the reaper
    of all orphans, means that the real one has died.
    """
    _prctl(_PR_SET_PDEATHSIG, sent)
    parent = os.getppid()
    orphaned = parent != expected if expected is not None else parent in (1, launcher_pid())
    if orphaned:
        os._exit(0)


def tie_to_launcher() -> None:
    """The same for the admin: wait until its double fork is over and the launcher has adopted it."""
    launcher = launcher_pid()
    give_up_at = time.monotonic() + _ADOPTION_SECONDS
    while os.getppid() != launcher and time.monotonic() < give_up_at:
        time.sleep(0.001)
    tie_to_parent(expected=launcher)


def become_launcher() -> None:
    """Adopt every orphan among the descendants, and let them know whose they are."""
    global _launcher  # noqa: PLW0603 - of this process and its forks, as the environment is of its programs
    _launcher = os.getpid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())


def launcher_pid() -> int | None:
    """The launcher's pid, where there is one."""
    if _launcher is not None:
        return _launcher
    text = os.environ.get(LAUNCHER_VARIABLE, "")
    return int(text) if text.isdigit() else None


def _prctl(option: int, argument: int) -> None:
    if _libc.prctl(option, argument, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
