"""Unpacking tar archives, plain or compressed, which come from strangers: read forwards only, and bounded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import threading
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from agent.artifact_limits import ArtifactError, Budget, check_cancelled
from agent.member_paths import check_link, check_new, refuse_symlinks, safe_parts
from config.bounds import ARCHIVE_READ_BYTES as _LARGEST_READ_BYTES
from config.bounds import ZSTD_WINDOW_BYTES as _LARGEST_WINDOW_BYTES

_CHUNK_BYTES = 256 * 1024
UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError)


class _Zstd:
    """A zstd stream as a file that is only read on, which is how tarfile goes through an archive."""

    def __init__(self, file: IO[bytes]) -> None:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
        self._stream: Any = decompressor.stream_reader(file, read_across_frames=True, closefd=False)
        self._position = 0

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size and (more := self._stream.read(size - len(content))):
            content += more
        self._position += len(content)
        return bytes(content)

    def seek(self, position: int) -> int:
        if position < self._position:
            raise ValueError("the archive is read backwards")
        while self._position < position and self.read(min(position - self._position, _CHUNK_BYTES)):
            pass
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._stream.close()


_OPENERS: dict[bytes, Callable[[IO[bytes]], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
    b"\x28\xb5\x2f\xfd": _Zstd,
}


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
        check_cancelled(self._cancelled)
        if position > self._most_bytes:
            raise ArtifactError(f"unsafe archive: more than {self._most_bytes} bytes unpacked")


def untar(file: IO[bytes], root: Path, cancelled: threading.Event, budget: Budget) -> None:
    """Unpack a tar archive below `root`. Raises ArtifactError for an unsafe one, and UNREADABLE errors."""
    start = file.read(6)
    file.seek(0)
    opener = next((opener for magic, opener in _OPENERS.items() if start.startswith(magic)), None)
    plain = cast(IO[bytes], opener(file) if opener else file)
    with closing(_Bounded(plain, budget.stream_bytes, cancelled)) as bounded:
        _unpack_members(cast(IO[bytes], bounded), root, budget)


def _unpack_members(file: IO[bytes], root: Path, budget: Budget) -> None:
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            budget.take(member.size)
            _check_member(member, root)
            try:
                archive.extract(member, root, filter="data")
            except tarfile.FilterError as error:
                raise ArtifactError(f"unsafe archive: {error}") from error
            # tarfile remembers every member it has seen; there may be many, and none is asked for again.
            archive.members = []  # type: ignore[attr-defined]


def _check_member(member: tarfile.TarInfo, root: Path) -> None:
    """Refuse what could reach outside `root`, by rules simpler than what tarfile's own filter follows."""
    if member.size < 0:
        raise ArtifactError(f"unsafe archive: {member.name!r} has a size of {member.size}")
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise ArtifactError(f"unsafe archive: {member.name!r} is a device or FIFO")
    parts = safe_parts(member.name, member.name)
    refuse_symlinks(root, parts[:-1], member.name)
    if member.islnk():
        target = safe_parts(member.linkname, member.name)
        refuse_symlinks(root, target, member.name)
        if not root.joinpath(*target).is_file():
            raise ArtifactError(f"unsafe archive: {member.name!r} links to what it lacks")
    elif member.issym():
        check_link(parts, member.linkname, member.name)
    check_new(root, parts, member.name, directory=member.isdir())
