"""Nobody outlives the one who made it: a process tied to its parent ends with it, one that is not stays."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

import pytest

# Makes a child, says its pid, and waits to be killed.
_PARENT = """
import os, signal, sys
from actors.lifeline import tie_to_parent
parent = os.getpid()
ready, made = os.pipe()
child = os.fork()
if child == 0:
    if sys.argv[1] == "tied":
        tie_to_parent(expected=parent)
    os.write(made, b"!")
    signal.pause()
os.read(ready, 1)
print(child, flush=True)
signal.pause()
"""


@pytest.mark.parametrize("how", ["tied", "left"])
def test_the_child_of_a_process_that_is_killed_ends_with_it(how: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, how], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    try:
        parent.kill()
        parent.wait(10)
        ended, _, _ = select.select([child], [], [], 10.0 if how == "tied" else 0.5)
        assert bool(ended) == (how == "tied")
    finally:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(child, signal.SIGKILL)
        os.close(child)
        parent.stdout.close()
