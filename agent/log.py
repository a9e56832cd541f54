"""What the tasks write: followed, stamped, bounded, and handed to those who read along.

A task appends to its own `output` file and is never blocked by anyone. One thread follows all of
these files and writes `log`, each line stamped as svlogd did it for the first agents (UTC):

    2026-11-23_11:12:27.58095 container[ID]:text

Both are bounded: `log` is rotated to `log.1` by size and by age, and what was read of `output` is given back
to the disk. A task or reader too fast or too slow for that loses lines, but never silently.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from io import RawIOBase
from pathlib import Path

from agent.readers import Reader, stamp, stamped
from config.bounds import AGENT_LOG_BACKLOG_BYTES as LARGEST_BACKLOG_BYTES
from config.bounds import AGENT_LOG_BYTES as LARGEST_LOG_BYTES
from config.bounds import AGENT_LOG_LINE_BYTES as _LONGEST_LINE_BYTES
from config.bounds import AGENT_LOG_READ_BYTES as _LARGEST_READ_BYTES
from config.bounds import FAILURE_LINES_SHOWN as LAST_LINES
from config.bounds import LONGEST_FAILURE_LINE as LONGEST_LAST_LINE

_TAIL_BYTES = 64 * 1024
_POLL_SECONDS = 0.2
_STAMP_BYTES = len(stamp(datetime.now(UTC)))
DEFAULT_ROTATE_SECONDS = 7 * 86_400.0

_LOG = logging.getLogger(__name__)
_LIBC = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE_AND_PUNCH_HOLE = 0x01 | 0x02


class TaskLog:
    """The log of one container. All methods may block on the disk; they exclude each other."""

    def __init__(
        self, container_id: str, directory: Path, rotate_seconds: float = DEFAULT_ROTATE_SECONDS
    ) -> None:
        self.container_id = container_id
        self._rotate_seconds = rotate_seconds
        self._began = ""
        self._ended = False
        self._trouble = ""
        self._output = directory / "output"
        self._log = directory / "log"
        self._older = directory / "log.1"
        self._offset_file = directory / "output.offset"
        self._lock = threading.Lock()
        self._readers: set[Reader] = set()
        self._looked_at = -1
        self._released = 0
        self._offset = self._stored_offset()

    def follow(self, *, last: bool = False) -> None:
        """Stamp what the task wrote since the last call; the `last` call takes a line without an end too."""
        with self._lock:
            try:
                while not self._ended and self._follow_once(last):
                    pass
            except FileNotFoundError:
                pass  # nothing written yet, or the container was deleted
            except OSError as error:
                # Once for each trouble: a full disk stays full for long, and this is tried all the time.
                if str(error) != self._trouble:
                    _LOG.warning("cannot follow the output of %s: %s", self.container_id, error)
                self._trouble = str(error)
            else:
                self._trouble = ""

    def history(self, count: int) -> list[str]:
        """The last lines, oldest first."""
        with self._lock:
            return self._history(count)

    def ending(self) -> list[str]:
        """What the task wrote last, a few lines without stamps; of use when it has ended."""
        try:
            with self._output.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - LAST_LINES * LONGEST_LAST_LINE))
                content = file.read().lstrip(b"\0")
        except OSError:
            return []
        lines = content.decode("utf-8", "replace").splitlines()
        return [line[:LONGEST_LAST_LINE] for line in lines[-LAST_LINES:]]

    def subscribe(self, reader: Reader, count: int) -> list[str]:
        """Let a reader read along; returns the last lines before what it will get, none twice."""
        with self._lock:
            self._readers.add(reader)
            return self._history(count)

    def unsubscribe(self, reader: Reader) -> None:
        """Forget a reader."""
        with self._lock:
            self._readers.discard(reader)

    def end(self) -> None:
        """Tell all readers that the container is gone; what is written from now on is nobody's here."""
        with self._lock:
            self._ended = True
            for reader in self._readers:
                reader.end()
            self._readers.clear()

    def _stored_offset(self) -> int:
        try:
            return int(self._offset_file.read_text() or 0)
        except (OSError, ValueError):
            return 0

    def _follow_once(self, last: bool) -> bool:
        """One read of bounded size; says whether there may be more."""
        size = self._output.stat().st_size
        if size == self._looked_at and not last:
            return False
        gap = ""
        if size < self._offset:
            self._offset = 0
        elif size - self._offset > LARGEST_BACKLOG_BYTES:
            gap = f"... {size - self._offset} bytes lost, the task writes too fast ..."
            self._offset = size
        with self._output.open("rb") as file:
            file.seek(self._offset)
            content = file.read(_LARGEST_READ_BYTES)
        complete = content.rfind(b"\n") + 1
        if not complete and (last or len(content) >= _LONGEST_LINE_BYTES):
            complete = len(content)
        if gap or complete:
            lines = [gap] if gap else []
            self._write(lines + (_lines(content[:complete]) if complete else []))
            self._offset += complete
            self._offset_file.write_text(str(self._offset))
            self._give_back(size)
        self._looked_at = size
        return complete > 0 and self._offset < size

    def _write(self, texts: Iterable[str]) -> None:
        now = datetime.now(UTC)
        lines = [stamped(self.container_id, text, now) for text in texts]
        self._began = self._began or _first_stamp(self._log)
        if self._began and self._began < stamp(now - timedelta(seconds=self._rotate_seconds)):
            self._rotate()
        with self._log.open("ab", buffering=0) as file:
            full = _append(file, b"".join(line.encode() + b"\n" for line in lines)) > LARGEST_LOG_BYTES
        if full:
            self._rotate()
        for reader in self._readers:
            reader.offer(lines)

    def _rotate(self) -> None:
        self._log.rename(self._older)
        self._began = ""

    def _give_back(self, size: int) -> None:
        """Free the disk space of what was read, without moving what the task is writing."""
        if self._offset - self._released < LARGEST_LOG_BYTES:
            return
        with self._output.open("rb+") as file:
            start, length = ctypes.c_longlong(0), ctypes.c_longlong(self._offset)
            freed = _LIBC.fallocate(file.fileno(), _KEEP_SIZE_AND_PUNCH_HOLE, start, length)
        if freed == 0:
            self._released = self._offset
        elif self._offset == size:
            # A file system without holes: what the task writes in this very moment is lost.
            os.truncate(self._output, 0)
            self._offset = self._released = 0
            self._offset_file.write_text("0")

    def _history(self, count: int) -> list[str]:
        lines = _tail(self._log, count)
        if len(lines) < count:
            lines = _tail(self._older, count - len(lines)) + lines
        return lines


def _lines(content: bytes) -> list[str]:
    return [
        part.decode("utf-8", "replace")
        for line in content.removesuffix(b"\n").split(b"\n")
        for part in _pieces(line)
    ]


def _pieces(line: bytes) -> list[bytes]:
    starts = range(0, len(line), _LONGEST_LINE_BYTES)
    return [line[start : start + _LONGEST_LINE_BYTES] for start in starts] or [b""]


def _append(file: RawIOBase, content: bytes) -> int:
    """Add all of the content or nothing; returns how long the file is now. Raises OSError."""
    before = file.seek(0, os.SEEK_END)
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) or 0 :]
    except OSError:
        file.truncate(before)
        raise
    return before + len(content)


def _first_stamp(path: Path) -> str:
    """When the first line of a log was written, as it is in there: stamps sort as times do."""
    try:
        with path.open("rb") as file:
            return file.readline(_STAMP_BYTES).decode("ascii", "replace")
    except OSError:
        return ""


def _tail(path: Path, count: int) -> list[str]:
    """The last `count` lines of a file, reading no more of it than needed; none if there is no file."""
    if count <= 0:
        return []
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            wanted = _TAIL_BYTES
            while True:
                file.seek(max(size - wanted, 0))
                content = file.read(wanted)
                if wanted >= size or content.count(b"\n") > count:
                    break
                wanted *= 4
    except OSError:
        return []
    return [line.decode("utf-8", "replace") for line in content.split(b"\n")[:-1][-count:]]


class Follower:
    """Follows the output of all containers in one thread."""

    def __init__(
        self, poll_seconds: float = _POLL_SECONDS, rotate_seconds: float = DEFAULT_ROTATE_SECONDS
    ) -> None:
        self._poll_seconds = poll_seconds
        self._rotate_seconds = rotate_seconds
        self._logs: dict[str, TaskLog] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-follower", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Read once more, then end; the tasks write on and the next agent goes on from there."""
        self._stopped.set()
        self._thread.join(timeout=1.0)
        for log in self._logs.values():
            log.end()

    def add(self, container_id: str, directory: Path) -> TaskLog:
        """Follow a container from now on."""
        log = TaskLog(container_id, directory, self._rotate_seconds)
        self._logs[container_id] = log
        return log

    def remove(self, container_id: str) -> None:
        """Follow a container no more; its readers are told."""
        log = self._logs.pop(container_id, None)
        if log is not None:
            log.end()

    def __getitem__(self, container_id: str) -> TaskLog:
        return self._logs[container_id]

    def _run(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            self._follow_all()
        self._follow_all()

    def _follow_all(self) -> None:
        for log in list(self._logs.values()):
            log.follow()
