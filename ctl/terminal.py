"""The user's terminal while a command in a task has it: raw, so that every key goes there; then as before."""

from __future__ import annotations

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Iterator


def is_terminal() -> bool:
    """Whether stdin and stdout are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))


def window() -> tuple[int, int]:
    """Its rows and columns; those of a usual one where there is none, or it does not say."""
    for descriptor in (0, 1, 2):
        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(descriptor)
            if rows and columns:
                return rows, columns
    return 24, 80


@contextlib.contextmanager
def raw() -> Iterator[None]:
    """Hand on each key as it is pressed, Ctrl-C too."""
    before = termios.tcgetattr(0)
    try:
        tty.setraw(0)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
