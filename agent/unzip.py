"""Unpacking zip archives, which come from strangers: by the rules of tar, and never trusting a size."""

from __future__ import annotations

import os
import stat
import struct
import threading
import zipfile
from pathlib import Path
from typing import IO, cast

from agent.artifact_limits import ArtifactError, Budget, check_cancelled
from agent.member_paths import check_link, check_new, refuse_symlinks, safe_parts
from config.bounds import ARCHIVE_READ_BYTES as _LARGEST_READ_BYTES
from config.bounds import LONGEST_ARCHIVE_NAME as _LONGEST_NAME

MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
UNREADABLE = (zipfile.BadZipFile, NotImplementedError, RuntimeError, struct.error, LookupError, OverflowError)
_CHUNK_BYTES = 256 * 1024
_ENCRYPTED = 0x1
# What the standard library unpacks no further than it is asked to; by its other methods a few hundred bytes
# become gigabytes of memory at once.
_METHODS = {zipfile.ZIP_STORED: "stored", zipfile.ZIP_DEFLATED: "deflated"}
_MADE_ON_UNIX = 3


class _Source:
    """The archive's file; the list of members at its end is read at once, so that is bounded here."""

    def __init__(self, file: IO[bytes], cancelled: threading.Event) -> None:
        self._file = file
        self._cancelled = cancelled
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        check_cancelled(self._cancelled)
        if size > _LARGEST_READ_BYTES:
            raise ArtifactError(f"unsafe archive: a header of {size} bytes")
        # All that is left is asked for just at the end, where the remark of an archive is.
        return self._file.read(size if size >= 0 else _LARGEST_READ_BYTES)

    def close(self) -> None:
        """It is closed by who has opened it."""


def unzip(file: IO[bytes], root: Path, cancelled: threading.Event, budget: Budget) -> None:
    """Unpack a zip archive below `root`. Raises ArtifactError for an unsafe one, and UNREADABLE errors."""
    with zipfile.ZipFile(cast(IO[bytes], _Source(file, cancelled))) as archive:
        for member in archive.infolist():
            budget.take(member.file_size)
            _unpack(archive, member, root)


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, root: Path) -> None:
    name = member.filename
    mode = member.external_attr >> 16 if member.create_system == _MADE_ON_UNIX else 0
    kind = stat.S_IFMT(mode)
    if member.flag_bits & _ENCRYPTED:
        raise ArtifactError(f"unsafe archive: {name!r} is encrypted")
    if member.compress_type not in _METHODS:
        allowed = " or ".join(_METHODS.values())
        raise ArtifactError(f"{name!r} is packed by method {member.compress_type}; it must be {allowed}")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise ArtifactError(f"unsafe archive: {name!r} is a device or FIFO")
    parts = safe_parts(name, name)
    refuse_symlinks(root, parts[:-1], name)
    check_new(root, parts, name, directory=member.is_dir())
    place = root.joinpath(*parts)
    if member.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if kind == stat.S_IFLNK:
        with archive.open(member) as content:
            target = content.read(_LONGEST_NAME + 1).decode("utf-8", "strict")
        check_link(parts, target, name)
        place.symlink_to(target)
    else:
        _write(archive, member, place, mode)


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, mode: int) -> None:
    """A file with what may be run of its mode: no set-user-id, and nobody else may write."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with archive.open(member) as content, os.fdopen(os.open(place, flags, 0o600), "wb") as file:
        # No more than the size that was counted comes out, and the checksum must be right.
        while chunk := content.read(_CHUNK_BYTES):
            file.write(chunk)
        os.fchmod(file.fileno(), (mode & 0o755) | 0o644)
