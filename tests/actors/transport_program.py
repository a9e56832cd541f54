"""A program for test_quick_transport.py: two transports in a thread each, that write to each other at once.

    python transport_program.py DIRECTORY MESSAGES

Prints as JSON what each has received, in order, and how many turns its loop has made. Thespian reads its
settings when it is imported, so this is a process of its own.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors import secret, transport

SIZES = (1, 1000, 60_000, 70_000, 1_500_000)
LONGEST_SECONDS = 30.0


class Side:
    """One transport; it has sent and received everything when `done` is set."""

    def __init__(self, kind: Any, copy: Any, intent: Any, messages: int) -> None:
        self.turns = 0
        self.received: list[tuple[int, int]] = []
        self.peer: Any = None
        self._intent = intent
        self._messages = messages
        self._sent = 0

        class Counting(kind):  # type: ignore[misc]  # Thespian has no types
            def _turn(_self, *, listening: bool) -> bool:  # noqa: N805 - the side is `self`
                self.turns += 1
                happened: bool = super()._turn(listening=listening)
                return happened

        self.transport = Counting(copy(), None, False, False)

    def run(self) -> None:
        """Send all, and receive as many."""
        give_up_at = time.monotonic() + LONGEST_SECONDS
        for number in range(self._messages):
            text = "x" * SIZES[number % len(SIZES)]
            done = self._intent(self.peer, (number, text), self._was_sent, self._was_sent)
            self.transport.scheduleTransmit(None, done)
        while time.monotonic() < give_up_at and not self._is_done():
            envelope = self.transport.run(None, timedelta(seconds=0.2))
            if hasattr(envelope, "message"):
                number, text = envelope.message
                self.received.append((number, len(text)))

    def _was_sent(self, result: Any, _intent: Any) -> None:
        self._sent += bool(result)

    def _is_done(self) -> bool:
        return len(self.received) == self._sent == self._messages


def main() -> None:
    """Have the two exchange messages, and say what came of it."""
    directory, messages = Path(sys.argv[1]), int(sys.argv[2])
    transport.secure(b"x" * secret.SECRET_BYTES, "127.0.0.1", directory / "thespian.log")
    from thespian.system.transport import TransmitIntent
    from thespian.system.transport.TCPTransport import ExternalTransportCopy

    from actors.quick_transport import QuickTransport

    sides = [Side(QuickTransport, ExternalTransportCopy, TransmitIntent, messages) for _ in range(2)]
    for side, other in zip(sides, reversed(sides), strict=True):
        side.peer = other.transport.myAddress
    # They share one connection, as a parent and its child do.
    sides[0].transport.scheduleTransmit(None, TransmitIntent(sides[0].peer, (-1, "")))
    while sides[0].transport._transmitIntents:
        for side in sides:
            side.transport.run(None, timedelta(seconds=0.01))
    for side in sides:
        side.turns = 0
    threads = [threading.Thread(target=side.run, daemon=True) for side in sides]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump([{"received": side.received, "turns": side.turns} for side in sides], sys.stdout)


if __name__ == "__main__":
    main()
