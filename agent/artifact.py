"""Fetching and unpacking artifacts, which come from strangers: bounded in every way, never outside.

http, https and file URLs; tar, plain or compressed by gzip, bzip2 or xz, told apart by content.
Everything here blocks; the runtime calls it in a thread of its own and cancels it by an event.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import IO, cast
from urllib.parse import unquote, urlsplit

import msgspec
import requests
from urllib3.exceptions import HTTPError

from config.bounds import ARCHIVE_READ_BYTES as _LARGEST_READ_BYTES
from config.bounds import (
    ARTIFACT_DOWNLOAD_BYTES,
    ARTIFACT_MEMBERS,
    ARTIFACT_SECONDS,
    ARTIFACT_UNPACKED_BYTES,
)
from config.bounds import LONGEST_ARCHIVE_NAME as _LONGEST_NAME

_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_CHUNK_BYTES = 256 * 1024
_OPENERS: dict[bytes, Callable[..., object]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
_UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, gzip.BadGzipFile)


class ArtifactError(Exception):
    """An artifact can't be had or must not be unpacked; the text becomes `process_state.err`."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an artifact may cost, downloaded and unpacked."""

    download_bytes: int = ARTIFACT_DOWNLOAD_BYTES
    unpacked_bytes: int = ARTIFACT_UNPACKED_BYTES
    members: int = ARTIFACT_MEMBERS
    seconds: float = ARTIFACT_SECONDS


def fetch(url: str, directory: Path, cancelled: threading.Event, limits: Limits | None = None) -> None:
    """Put the unpacked artifact into `directory`/root, or an empty directory there if `url` is empty.

    Raises ArtifactError, and OSError if the disk is full.
    """
    limits = limits or Limits()
    root, archive = directory / "root", directory / "artifact"
    root.mkdir()
    if not url:
        return
    try:
        # Closed at once, also after an error: its connection must not stay until the garbage is collected.
        with closing(_chunks(url)) as chunks:
            _save(chunks, archive, cancelled, limits)
        unpack(archive, root, cancelled, limits)
    except ArtifactError as error:
        raise ArtifactError(f"artifact {url}: {error}") from error
    finally:
        archive.unlink(missing_ok=True)


def _save(chunks: Iterator[bytes], archive: Path, cancelled: threading.Event, limits: Limits) -> None:
    deadline = time.monotonic() + limits.seconds
    size = 0
    with archive.open("wb") as file:
        for chunk in chunks:
            size += len(chunk)
            if size > limits.download_bytes:
                raise ArtifactError(f"more than {limits.download_bytes} bytes")
            if time.monotonic() > deadline:
                raise ArtifactError(f"not fetched within {limits.seconds:g} s")
            _check(cancelled)
            file.write(chunk)


def _check(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise ArtifactError("fetching was cancelled")


def _chunks(url: str) -> Generator[bytes, None, None]:
    return _local_chunks(url) if url.startswith("file://") else _http_chunks(url)


def _local_chunks(url: str) -> Generator[bytes, None, None]:
    path = Path(unquote(urlsplit(url).path))
    try:
        # Non-blocking, so that a FIFO is refused below instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError("not a regular file")
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _http_chunks(url: str) -> Generator[bytes, None, None]:
    try:
        with requests.get(url, stream=True, timeout=(_CONNECT_SECONDS, _READ_SECONDS)) as response:
            if response.status_code != 200:
                raise ArtifactError(f"the server answered {response.status_code} {response.reason}")
            # What has come, not a whole chunk: from a slow server that would take for ever to cancel.
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                yield chunk
    except (requests.RequestException, HTTPError) as error:
        raise ArtifactError(f"download failed: {error}") from error


class _Bounded:
    """A file of decompressed bytes that refuses to become too large, or to be read in too large parts.

    A few KB can decompress to terabytes, and a header of an archive may claim to be of any size.
    """

    def __init__(self, file: IO[bytes], most_bytes: int, cancelled: threading.Event) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._cancelled = cancelled

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ_BYTES:
            raise ArtifactError(f"unsafe archive: a header of {size} bytes")
        self._bound(self._file.tell() + size)
        return self._file.read(size)

    def seek(self, position: int) -> int:
        self._bound(position)
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()

    def _bound(self, position: int) -> None:
        _check(self._cancelled)
        if position > self._most_bytes:
            raise ArtifactError(f"unsafe archive: more than {self._most_bytes} bytes unpacked")


def unpack(archive: Path, root: Path, cancelled: threading.Event, limits: Limits | None = None) -> None:
    """Unpack a tar archive below `root`. Raises ArtifactError for one that is broken or unsafe."""
    limits = limits or Limits()
    # Headers and padding count too, so that the archive's own size bounds them.
    most_bytes = limits.unpacked_bytes + 2048 * limits.members
    with archive.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
        plain = cast(IO[bytes], opener(raw, "rb") if opener else raw)
        try:
            with closing(_Bounded(plain, most_bytes, cancelled)) as bounded:
                _unpack_members(cast(IO[bytes], bounded), root, limits)
        except _UNREADABLE as error:
            raise ArtifactError(f"not a usable tar archive: {error}") from error


def _unpack_members(file: IO[bytes], root: Path, limits: Limits) -> None:
    # Links cost as much as the file they are unpacked from, sparse files their whole size: all count.
    total = 0
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for count, member in enumerate(archive, start=1):
            total += member.size
            if count > limits.members or total > limits.unpacked_bytes:
                raise ArtifactError(
                    f"unsafe archive: more than {limits.members} members or {limits.unpacked_bytes} bytes"
                )
            check_member(member, root)
            try:
                archive.extract(member, root, filter="data")
            except tarfile.FilterError as error:
                raise ArtifactError(f"unsafe archive: {error}") from error
            # tarfile remembers every member it has seen; there may be many, and none is asked for again.
            archive.members = []  # type: ignore[attr-defined]


def check_member(member: tarfile.TarInfo, root: Path) -> None:
    """Refuse what could reach outside `root`, by rules simpler than what tarfile's own filter follows.

    Nothing is unpacked through a symbolic link, and a link's target climbs first and descends then:
    so a link can be judged by its text alone, without following others. Raises ArtifactError.
    """
    if member.size < 0:
        raise ArtifactError(f"unsafe archive: {member.name!r} has a size of {member.size}")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise ArtifactError(f"unsafe archive: {member.name!r} is a device or FIFO")
    parts = _safe_parts(member.name, member.name)
    _refuse_symlinks(root, parts[:-1], member.name)
    if member.islnk():
        target = _safe_parts(member.linkname, member.name)
        _refuse_symlinks(root, target, member.name)
        if not (root / Path(*target)).is_file():
            raise ArtifactError(f"unsafe archive: {member.name!r} links to what it lacks")
    elif member.issym():
        link = PurePosixPath(member.linkname)
        climbs = 0
        while climbs < len(link.parts) and link.parts[climbs] == "..":
            climbs += 1
        if link.is_absolute() or climbs > len(parts) - 1 or ".." in link.parts[climbs:]:
            raise ArtifactError(f"unsafe archive: link {member.name!r} leads to {member.linkname!r}")
        if len(member.linkname) > _LONGEST_NAME:
            raise ArtifactError(f"unsafe archive: link {member.name!r} has a target that is too long")
    elif parts and (root / Path(*parts)).is_symlink():
        raise ArtifactError(f"unsafe archive: {member.name!r} would be written through a link")


def _safe_parts(path: str, shown: str) -> tuple[str, ...]:
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or len(path) > _LONGEST_NAME or "\x00" in path:
        raise ArtifactError(f"unsafe archive: {shown[:_LONGEST_NAME]!r} is not inside it")
    return parts


def _refuse_symlinks(root: Path, parts: tuple[str, ...], shown: str) -> None:
    place = root
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise ArtifactError(f"unsafe archive: {shown!r} passes through the link {place.name!r}")
