"""Unpacking tar archives, plain or compressed, which come from strangers: read forwards only, and bounded."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from agent.artifact_limits import ArtifactError, Budget, check_cancelled
from agent.member_paths import check_link, check_new, refuse_symlinks, safe_parts
from config.bounds import ARCHIVE_HEADER_BYTES as _HEADER_BYTES
from config.bounds import ARCHIVE_MEMBER_HEADER_BYTES as _MEMBER_HEADER_BYTES
from config.bounds import ARCHIVE_READ_BYTES as _LARGEST_READ_BYTES
from config.bounds import ARCHIVE_WINDOW_BYTES as _LARGEST_WINDOW_BYTES

_CHUNK_BYTES = 256 * 1024
UNREADABLE = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, ValueError)


class _OnlyOn:
    """A stream as a file that is only read on, which is how tarfile goes through an archive."""

    def __init__(self, more: Callable[[int], bytes]) -> None:
        """`more` gives some bytes, at most so many; none at the end."""
        self._more = more
        self._position = 0

    def read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size and (more := self._more(size - len(content))):
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
        """The file below is closed by who has opened it."""


def _zstd(file: IO[bytes]) -> _OnlyOn:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW_BYTES)
    stream: Any = decompressor.stream_reader(file, read_across_frames=True, closefd=False)
    return _OnlyOn(stream.read)


class _Xz:
    """xz with an end to the memory that it may take, which `lzma.LZMAFile` does not know."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._begin()

    def _begin(self) -> None:
        self._stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LARGEST_WINDOW_BYTES)

    def more(self, size: int) -> bytes:
        """Some bytes, none at the end. Raises EOFError, LZMAError."""
        while True:
            packed = b""
            if self._stream.eof:
                # Streams may follow each other, with zeros in between.
                packed = self._stream.unused_data.lstrip(b"\0")
                while not packed and (chunk := self._file.read(_CHUNK_BYTES)):
                    packed = chunk.lstrip(b"\0")
                if not packed:
                    return b""
                self._begin()
            elif self._stream.needs_input and not (packed := self._file.read(_CHUNK_BYTES)):
                raise EOFError("it ends too early")
            if content := self._stream.decompress(packed, size):
                return content


_OPENERS: dict[bytes, Callable[[IO[bytes]], object]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lambda file: _OnlyOn(_Xz(file).more),
    b"\x28\xb5\x2f\xfd": _zstd,
}


class _Bounded:
    """A file of decompressed bytes that refuses to become too large, or to be read in too large parts.

    A few KB can decompress to terabytes, and a header of an archive may claim to be of any size. All headers
    together are bounded, too: tarfile keeps in memory what they say, many times as large.
    """

    def __init__(self, file: IO[bytes], most_bytes: int, cancelled: threading.Event) -> None:
        self._file = file
        self._most_bytes = most_bytes
        self._cancelled = cancelled
        self._headers_left = _HEADER_BYTES
        self._in_headers = True

    @contextmanager
    def content(self) -> Iterator[None]:
        """While this lasts the content of a member is read, which its size has been counted for."""
        self._headers_left += _MEMBER_HEADER_BYTES
        self._in_headers = False
        try:
            yield
        finally:
            self._in_headers = True

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ_BYTES:
            raise ArtifactError(f"unsafe archive: a header of {size} bytes")
        if self._in_headers:
            self._headers_left -= size
            if self._headers_left < 0:
                raise ArtifactError("unsafe archive: its headers are too large for what is in it")
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
        _unpack_members(bounded, root, budget)


def _unpack_members(file: _Bounded, root: Path, budget: Budget) -> None:
    with tarfile.open(fileobj=cast(IO[bytes], file), mode="r:") as archive:
        for member in archive:
            budget.take(member.size)
            _check_member(member, root)
            try:
                with file.content():
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
