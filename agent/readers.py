"""Those who read a log along: each gets every line once, or a line that says how many it lost.

A reader waits in the event loop, what it reads is written by the thread that follows the tasks: lines
cross over by `call_soon_threadsafe`, and wait bounded for a reader that is slow.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Protocol

from agent.events import KEEP_ALIVE
from config.bounds import AGENT_LINES_WAITING as _MOST_WAITING_LINES
from scheduling.canonical import go_json

_LOG = logging.getLogger(__name__)


def stamp(now: datetime) -> str:
    """A moment as each line begins with it; these sort as the moments do."""
    moment = now.astimezone(UTC)
    return f"{moment:%Y-%m-%d_%H:%M:%S}.{moment.microsecond // 10:05d}"


def stamped(container_id: str, text: str, now: datetime) -> str:
    """One line of the log, without the newline."""
    return f"{stamp(now)} container[{container_id}]:{text}"


class Reader:
    """One who reads along: gets lines as they come, bounded, with a gap line for those it lost."""

    def __init__(self, container_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self._container_id = container_id
        self._loop = loop
        self._lines: deque[str] = deque()
        self._lost = 0
        self._woken = asyncio.Event()
        self._ended = False

    def offer(self, lines: list[str]) -> None:
        """Hand over new lines; called by the following thread."""
        self._call(lines)

    def end(self) -> None:
        """Say that no more lines will come."""
        self._call(None)

    async def next(self, patience_seconds: float) -> list[str] | None:
        """The lines that came since the last call, empty if none came in time; None at the end."""
        try:
            async with asyncio.timeout(patience_seconds):
                await self._woken.wait()
        except TimeoutError:
            return []
        self._woken.clear()
        lines = list(self._lines)
        self._lines.clear()
        if self._lost:
            gap = f"... {self._lost} lines lost, the reader is too slow ..."
            lines.append(stamped(self._container_id, gap, datetime.now(UTC)))
            self._lost = 0
        if self._ended:
            self._woken.set()
            return lines or None
        return lines

    def _call(self, lines: list[str] | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, lines)
        except RuntimeError:
            _LOG.debug("the reader's loop is closed")

    def _take(self, lines: list[str] | None) -> None:
        if lines is None:
            self._ended = True
        else:
            room = max(_MOST_WAITING_LINES - len(self._lines), 0)
            self._lines.extend(lines[:room])
            self._lost += len(lines[room:])
        self._woken.set()


class ReadableLog(Protocol):
    """What a stream needs of a log; `agent.log.TaskLog` is one."""

    container_id: str

    def subscribe(self, reader: Reader, count: int) -> list[str]:
        """Let a reader read along; returns the last lines before what it will get, none twice."""

    def unsubscribe(self, reader: Reader) -> None:
        """Forget a reader."""

    def history(self, count: int) -> list[str]:
        """The last lines, oldest first."""


async def read_along(log: ReadableLog, count: int, keep_alive_seconds: float) -> AsyncIterator[bytes]:
    """A log as an event stream: its last lines in one event, then each line in one, until it is gone."""
    reader = Reader(log.container_id, asyncio.get_running_loop())
    try:
        yield _event(await asyncio.to_thread(log.subscribe, reader, count))
        while (lines := await reader.next(keep_alive_seconds)) is not None:
            yield b"".join(_event([line]) for line in lines) or KEEP_ALIVE
    finally:
        log.unsubscribe(reader)


async def read_through(log: ReadableLog, count: int) -> AsyncIterator[bytes]:
    """A log to which nothing is added any more, as an event stream: its last lines, and the end."""
    yield _event(await asyncio.to_thread(log.history, count))


def _event(lines: list[str]) -> bytes:
    return b"data: " + go_json(lines) + b"\n\n"
