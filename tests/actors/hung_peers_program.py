"""A program for test_hung_peers.py: one actor with peers that hang, and how long it takes to answer then.

    python hung_peers_program.py DIRECTORY [MOST_PENDING_TRANSMITS]

Prints "answered" or "silent".
"""

from __future__ import annotations

import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors import transport
from actors.lifeline import become_launcher, tie_to_parent
from actors.system import hold_port, port_of, start_system

HUNG = 25
ANSWER_SECONDS = 4.0


def main() -> None:
    """Make the peers, stop them, have each told something, and ask."""
    directory = Path(sys.argv[1])
    for most in sys.argv[2:]:
        transport._ENVIRONMENT["THESPIAN_MAX_PENDING_TRANSMITS"] = most
    become_launcher()
    transport.secure(b"x" * 32, "127.0.0.1", directory / "thespian.log")
    from hung_peers_actors import Hub

    held = hold_port("127.0.0.1")
    system: Any = start_system(port_of(held), {})
    hub = system.createActor(Hub)
    pids = system.ask(hub, HUNG, timedelta(seconds=60))
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    system.tell(hub, "tell all")
    answer = system.ask(hub, "are you there?", timedelta(seconds=ANSWER_SECONDS))
    sys.stdout.write("answered" if answer == "yes" else "silent")
    sys.stdout.flush()
    os._exit(0)  # the kernel ends what is left


if __name__ == "__main__":
    tie_to_parent()
    main()
