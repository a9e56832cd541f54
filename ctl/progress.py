"""Progress of a wait on stderr: live on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Group
from rich.live import Live

from ctl.console import QuietConsole
from ctl.goals import Line, Progress
from ctl.tables import cell, progress_table
from ctl.text import clean

_LINES_AROUND = 5  # header, summary, deadline, trouble, and the cursor's line


class LiveDisplay:
    """Redraws one table in place, and takes it away at the end."""

    def __init__(self, err: QuietConsole, title: str) -> None:
        self._err = err
        self._title = title
        self._live = Live(console=err, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveDisplay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, progress: Progress, trouble: str) -> None:
        """Draw the present state."""
        parts = [cell(f"{self._title}: {progress.summary}", "bold")]
        if progress.deadline_at is not None:
            parts.append(cell(f"fails {time_left(progress.deadline_at, time.time())} unless it goes forward"))
        if trouble:
            parts.append(cell(f"{trouble}; trying again", "red"))
        rows = progress_table(progress.lines, max(self._err.height - _LINES_AROUND, 1))
        self._live.update(Group(*parts, rows), refresh=True)


class PlainDisplay:
    """Prints what changed since it was last told, for logs and pipes."""

    def __init__(self, err: QuietConsole, title: str) -> None:
        self._err = err
        self._title = title
        self._lines: dict[str, Line] = {}
        self._summary = ""
        self._trouble = ""

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def show(self, progress: Progress, trouble: str) -> None:
        """Print what is different from the last time."""
        for line in progress.lines:
            before = self._lines.get(line.task)
            if before is None or _told(before) != _told(line):
                self._print(_told(line))
        self._lines = {line.task: line for line in progress.lines}
        if progress.summary != self._summary:
            self._summary = progress.summary
            self._print(f"{self._title}: {progress.summary}")
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                self._print(f"{trouble}; trying again")

    def _print(self, text: str) -> None:
        self._err.write_line(clean(text))


def _told(line: Line) -> str:
    # Why tasks wait is in the summary: it is the same for all of them and changes often.
    note = f" ({line.note})" if line.note and line.status != "waiting" else ""
    return f"{line.task} {line.status}" + (f" on {line.agent}" if line.agent else "") + note


def time_left(deadline_at: float, now: float) -> str:
    """`in 4:05`; both are seconds since 1970, by clocks that may differ."""
    minutes, seconds = divmod(max(0, round(deadline_at - now)), 60)
    return f"in {minutes}:{seconds:02}"


def display(err: QuietConsole, title: str) -> LiveDisplay | PlainDisplay:
    """The display that suits where stderr goes."""
    live = err.is_terminal and not err.is_dumb_terminal
    return LiveDisplay(err, title) if live else PlainDisplay(err, title)
