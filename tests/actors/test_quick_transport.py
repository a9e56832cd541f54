"""The loop of our own for Thespian's messages: all arrive, in order, and cost few turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MESSAGES = 100


def _exchange(directory: Path, messages: int) -> list[dict[str, Any]]:
    path = f"{HERE.parents[1]}{os.pathsep}{HERE}"
    done = subprocess.run(
        [sys.executable, str(HERE / "transport_program.py"), str(directory), str(messages)],
        cwd=directory, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True,
        timeout=90, check=True,
    )  # fmt: skip
    sides: list[dict[str, Any]] = json.loads(done.stdout)
    return sides


def test_two_that_write_to_each_other_at_once_lose_nothing(tmp_path: Path) -> None:
    """Both use the same connection, so each may find a message where it waits for an acknowledgement; and a
    message that is longer than what is read at once comes in pieces."""
    sizes = (1, 1000, 60_000, 70_000, 1_500_000)
    for side in _exchange(tmp_path, MESSAGES):
        assert side["received"] == [[number, sizes[number % 5]] for number in range(MESSAGES)]


def test_a_message_takes_one_turn_at_each_end(tmp_path: Path) -> None:
    """One for what comes, and one for what acknowledges what was sent. Thespian takes two for each,
    and one more for sending: 20. A piece that the kernel hands over by itself takes one more at times."""
    for side in _exchange(tmp_path, 4):
        assert side["turns"] <= 2 * 4 + 3
