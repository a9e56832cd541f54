"""How Thespian's loop waits for its sockets: one poll(2) a turn.

The loop makes a new selector for each turn, registers every socket it has, waits once and throws the selector
away. With the usual one, on epoll, each of a flock's 50 peers costs a system call and a named tuple a turn. A
poll object takes a descriptor at the price of a dictionary entry, and is handed to the kernel once.
"""

from __future__ import annotations

import errno
import math
import os
import select
from typing import NamedTuple

EVENT_READ, EVENT_WRITE = 1, 2
_MASKS = {EVENT_READ: select.POLLIN, EVENT_WRITE: select.POLLOUT}


class Key(NamedTuple):
    """What is ready; the loop looks at the number only."""

    fd: int


class DefaultSelector:
    """As much of `selectors.DefaultSelector` as Thespian's loop uses, for one `select`."""

    __slots__ = ("_poll",)

    def __init__(self) -> None:
        self._poll = select.poll()

    def register(self, descriptor: int, event: int) -> None:
        """Wait for this, too. Raises ValueError for what is no descriptor."""
        self._poll.register(descriptor, _MASKS[event])

    def select(self, timeout_seconds: float | None = None) -> list[tuple[Key, int]]:
        """What is ready; empty when nothing was in time. Raises OSError (EBADF) for a closed descriptor."""
        wait_ms = None if timeout_seconds is None else math.ceil(max(timeout_seconds, 0.0) * 1000)
        ready: list[tuple[Key, int]] = []
        for descriptor, mask in self._poll.poll(wait_ms):
            if mask & select.POLLNVAL:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            # An error or a hang-up is both: whoever reads or writes then gets to know which.
            events = EVENT_WRITE if mask & ~select.POLLIN else 0
            events |= EVENT_READ if mask & ~select.POLLOUT else 0
            ready.append((Key(descriptor), events))
        return ready

    def close(self) -> None:
        """There is nothing to close."""
