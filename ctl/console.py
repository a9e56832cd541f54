"""The terminal: colours only there (rich minds NO_COLOR), a closed pipe ends the program in silence."""

from __future__ import annotations

import os
from typing import TextIO

from rich.console import Console

from ctl.errors import PIPE_CLOSED

# What is piped on is cut by whoever reads it, not by us at 80 columns.
_ENDLESS_COLUMNS = 10_000


class QuietConsole(Console):
    """A console that takes text for text: no markup, no emoji, no highlighting."""

    def write_line(self, text: str) -> None:
        """Print a line as it is: tabs stay tabs, and megabytes of JSON are not laid out first."""
        try:
            self.file.write(text + "\n")
            self.file.flush()
        except BrokenPipeError:
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """The reader has seen enough (`| head`); end as a program does that SIGPIPE ends."""
        self.quiet = True
        # As the Python manual advises: else the interpreter may complain when it flushes the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise SystemExit(PIPE_CLOSED)


def console(stream: TextIO | None) -> QuietConsole:
    """A console on stdout or stderr (None: closed by whoever started us, nothing is shown)."""
    terminal = stream is not None and stream.isatty()
    if stream is not None and hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")  # a job's name may not exist in the user's encoding
    return QuietConsole(
        file=stream or open(os.devnull, "w", encoding="utf-8"),  # noqa: PTH123  # until the end
        force_terminal=terminal,
        markup=False,
        emoji=False,
        highlight=False,
        width=None if terminal else _ENDLESS_COLUMNS,
    )
