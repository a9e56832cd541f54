"""What Python has no call for: be told when the parent process ends, however it ends (Linux)."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def signal_on_parent_death(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Get a signal when `parent`, which started this process, ends; at once if it has ended already."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(number), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)
