"""What every command works with: the scheduler, the two outputs, and how to show things on them."""

from __future__ import annotations

from typing import Any, Literal

from rich.console import RenderableType

from ctl.client import Client
from ctl.console import QuietConsole
from ctl.text import clean, pretty_json

Output = Literal["table", "json"]


class Session:
    """One run of the program. Results go to `out`, progress and complaints to `err`."""

    def __init__(self, client: Client, output: Output, out: QuietConsole, err: QuietConsole) -> None:
        self.client = client
        self.output = output
        self.out = out
        self.err = err

    @property
    def as_json(self) -> bool:
        """Whether the user wants what the API answers instead of tables."""
        return self.output == "json"

    def show(self, what: RenderableType) -> None:
        """A table or the like, on stdout."""
        self.out.print(what)

    def line(self, text: str) -> None:
        """A line of text from wherever, on stdout."""
        self.out.write_line(clean(text))

    def raw_line(self, text: str) -> None:
        """A line that is harmless already, on stdout."""
        self.out.write_line(text)

    def json(self, value: Any) -> None:
        """A value of the API, on stdout."""
        self.raw_line(pretty_json(value))

    def json_line(self, value: Any) -> None:
        """A value of the API on one line, on stdout."""
        self.raw_line(pretty_json(value, indent=None))

    def complain(self, *lines: str) -> None:
        """Tell on stderr, each line with the program's name."""
        complain(self.err, *lines)


def complain(err: QuietConsole, *lines: str) -> None:
    """Tell on stderr what is wrong, each line with the program's name."""
    for line in lines:
        err.write_line(f"harpoonctl: {clean(line)}")
