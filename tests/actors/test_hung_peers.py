"""The row of the table of failures: many peers of an actor hang at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def _ask(directory: Path, *most: str) -> str:
    """What the program says: whether an actor with 25 hung peers answers."""
    path = f"{HERE.parents[1]}{os.pathsep}{HERE}"
    program = [sys.executable, str(HERE / "hung_peers_program.py"), str(directory), *most]
    done = subprocess.run(
        program, cwd=directory, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        timeout=90, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_many_peers_of_an_actor_hang_at_once(tmp_path: Path) -> None:
    """ "The rest is served without delay": by a limit of pending transmits above the number of peers. With
    Thespian's own of 20 nobody is answered. On a whole system: tests/system/test_system_hung_peers.py."""
    assert _ask(tmp_path) == "answered"
    assert _ask(tmp_path, "20") == "silent"
