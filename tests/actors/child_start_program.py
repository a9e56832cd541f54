"""A program for test_child_start.py: what an actor calls from its fork to its first line.

    python child_start_program.py DIRECTORY

Prints it as JSON. Thespian reads its settings when it is imported, so this is a process of its own.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors import transport
from actors.lifeline import become_launcher, tie_to_parent
from actors.system import hold_port, port_of, start_system

called: set[tuple[str, str]] = set()


def note(frame: Any, event: str, _argument: Any) -> None:
    """A profiler, as `sys.setprofile` takes it."""
    if event == "call":
        called.add((Path(frame.f_code.co_filename).name, frame.f_code.co_qualname))


def main() -> None:
    """Make one actor, and ask it."""
    become_launcher()
    transport.secure(b"x" * 32, "127.0.0.1", Path(sys.argv[1]) / "thespian.log")
    from thespian.actors import Actor
    from thespian.system import multiprocCommon

    start_child = multiprocCommon.startChild

    def noting(*arguments: Any) -> None:
        called.clear()
        sys.setprofile(note)
        start_child(*arguments)

    class Teller(Actor):  # type: ignore[misc]  # Thespian has no types
        """Tells what was called until it was made."""

        def __init__(self) -> None:
            sys.setprofile(None)
            tie_to_parent()
            files = sorted({file for file, _ in called})
            self._told = {"functions": len(called), "files": files}

        def receiveMessage(self, _message: Any, sender: Any) -> None:  # noqa: N802 - Thespian's name
            self.send(sender, {**self._told, "standard_input": str(Path("/proc/self/fd/0").readlink())})

    globals()["Teller"] = Teller
    multiprocCommon.startChild = noting
    held = hold_port("127.0.0.1")
    system: Any = start_system(port_of(held), {})
    told = system.ask(system.createActor(Teller), "tell", timedelta(seconds=30))
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # the kernel ends what is left


if __name__ == "__main__":
    main()
