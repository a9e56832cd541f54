"""What the launchers of a leader and of a member share: signals, restarts, and the port of the actors."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from typing import Any

from actors.system import hold_port
from config.bounds import LONGEST_START_PAUSE_SECONDS, MOST_STARTS
from config.settings import Settings

CALM_SECONDS = 30.0


class LaunchError(Exception):
    """It can't be started; the text is one line for the user."""


class Signals:
    """SIGTERM, SIGINT and SIGHUP as a flag, and as a descriptor that whoever waits can watch."""

    def __init__(self) -> None:
        self.ending = False
        self._reader, self._writer = socket.socketpair()

    def catch(self) -> None:
        """From now on a signal to end is noted, and wakes who watches; one that is ignored stays so."""
        for end in (self._reader, self._writer):
            end.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
                signal.signal(number, self._told_to_end)

    def _told_to_end(self, _number: int, _frame: Any) -> None:
        self.ending = True

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._reader.fileno()

    def drain(self) -> None:
        """Be ready for the next one."""
        with contextlib.suppress(BlockingIOError):
            self._reader.recv(64)


class Restarts:
    """How often what has ended was started anew lately, by name."""

    def __init__(self) -> None:
        self._starts: dict[str, list[float]] = {}

    def pause_before(self, name: str) -> float:
        """In how many seconds to start it anew. Raises LaunchError when it keeps ending."""
        now = time.monotonic()
        recent = [at for at in self._starts.get(name, []) if now - at < CALM_SECONDS]
        if len(recent) >= MOST_STARTS:
            raise LaunchError(f"{name} ended {len(recent)} times within {CALM_SECONDS:.0f} s; see above")
        self._starts[name] = [*recent, now]
        return min(LONGEST_START_PAUSE_SECONDS, 0.1 * 2.0 ** len(recent))


def hold_actor_port(settings: Settings) -> socket.socket:
    """Hold the port of the actor system's admin, which is the one that is set, or any. Raises LaunchError."""
    address, wanted = settings.actor_address, settings.actor_port
    try:
        return hold_port(address, wanted)
    except OSError as error:
        raise LaunchError(
            f"the actors can't listen on {address}:{wanted}: {error.strerror or error}; "
            "choose another --actor-port or --actor-address"
        ) from None
