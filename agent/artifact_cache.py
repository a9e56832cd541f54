"""Downloaded archives, kept for the next task that wants them: one download for many tasks.

    DIRECTORY/KEY                  an archive, whole; KEY is made of the URL and the checksum
    DIRECTORY/KEY.validator        by what its server knows whether it has another one now
    DIRECTORY/KEY.part             one on its way, gone on with after whatever ended its download

With a checksum, what is kept is used without asking anybody, if it still has it. Without one the server is
asked whether it has another one by now, unless the download ended while it was already waited for.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from agent.artifact_limits import ArtifactError, Limits, check_cancelled
from agent.download import Download, read_validator

_POLL_SECONDS = 0.1
_PART, _VALIDATOR = ".part", ".validator"


class _Turn:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.wanted = 0
        self.done_at = 0.0


class ArtifactCache:
    """The archives below one directory; any thread may ask. `most_bytes` 0 keeps nothing."""

    def __init__(self, directory: Path, most_bytes: int, most_seconds: float) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._most_seconds = most_seconds
        self._guard = threading.Lock()
        self._turns: dict[str, _Turn] = {}

    @contextmanager
    def open(self, url: str, sha256: str, cancelled: threading.Event, limits: Limits) -> Iterator[IO[bytes]]:
        """The archive of a URL, whole and open: it may be cleaned away meanwhile. Raises ArtifactError."""
        key = _key(url, sha256)
        asked_at = time.monotonic()
        with self._turn(key, cancelled) as turn:
            try:
                self._directory.mkdir(mode=0o700, exist_ok=True)
                fresh = turn.done_at >= asked_at
                path = self._have(key, url, sha256, fresh, cancelled, limits)
                turn.done_at = turn.done_at if fresh else time.monotonic()
                file = path.open("rb")
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    (self._directory / (key + _PART)).unlink(missing_ok=True)
                    self._clean_to(0)  # what is kept for later must not be in the way of what is wanted now
                raise
        with file:
            self.clean()
            yield file

    def waiting(self, url: str, sha256: str) -> int:
        """How many want an archive at this moment, with the one that downloads it."""
        with self._guard:
            turn = self._turns.get(_key(url, sha256))
            return turn.wanted if turn is not None else 0

    def clean(self) -> None:
        """Let go of what nobody has wanted for long, and of the longest unused until the rest has room."""
        self._clean_to(self._most_bytes)

    def _have(
        self,
        key: str,
        url: str,
        sha256: str,
        fresh: bool,
        cancelled: threading.Event,
        limits: Limits,
    ) -> Path:
        path, part = self._directory / key, self._directory / (key + _PART)
        known = read_validator(self._directory / (key + _VALIDATOR)) if path.exists() else None
        if path.exists() and (fresh or (sha256 and _digest(path, cancelled) == sha256)):
            os.utime(path)
            return path
        conditions = known.conditions() if known is not None and not sha256 else {}
        for _ in range(2):
            download = Download(url, part, limits, checked=bool(sha256), conditions=conditions)
            if download.run(cancelled) is None:
                os.utime(path)
                return path
            if not sha256 or (found := _digest(part, cancelled)) == sha256:
                return self._keep(part, path)
            download.forget()
            if not download.resumed:
                break  # else the part was of another content: once more, from the beginning
        raise ArtifactError(f"its SHA-256 is {found}, not {sha256}")

    def _keep(self, part: Path, path: Path) -> Path:
        """Make a download what is kept, in one step that survives a power cut."""
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.rename(path)
        part.with_name(part.name + _VALIDATOR).rename(path.with_name(path.name + _VALIDATOR))
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return path

    @contextmanager
    def _turn(self, key: str, cancelled: threading.Event) -> Iterator[_Turn]:
        """One at a time for each archive; who waits gives up when it is not wanted any more."""
        with self._guard:
            turn = self._turns.setdefault(key, _Turn())
            turn.wanted += 1
        try:
            while not turn.lock.acquire(timeout=_POLL_SECONDS):
                check_cancelled(cancelled)
            try:
                yield turn
            finally:
                turn.lock.release()
        finally:
            with self._guard:
                turn.wanted -= 1
                if not turn.wanted:
                    del self._turns[key]

    def _clean_to(self, most_bytes: int) -> None:
        with self._guard:
            found: list[tuple[float, int, Path]] = []
            for path in self._directory.glob("*"):
                in_use = path.name.partition(".")[0] in self._turns
                if not path.name.endswith(_VALIDATOR) and not in_use and path.is_file():
                    status = path.stat()
                    found.append((status.st_mtime, status.st_size, path))
            total = sum(size for _, size, _ in found)
            for used_at, size, path in sorted(found):
                if total > most_bytes or time.time() - used_at > self._most_seconds or not most_bytes:
                    path.unlink(missing_ok=True)
                    path.with_name(path.name + _VALIDATOR).unlink(missing_ok=True)
                    total -= size


def _key(url: str, sha256: str) -> str:
    return hashlib.sha256(f"{url}\n{sha256}".encode()).hexdigest()


def _digest(path: Path, cancelled: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1024 * 1024):
            check_cancelled(cancelled)
            digest.update(chunk)
    return digest.hexdigest()
