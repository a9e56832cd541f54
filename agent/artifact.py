"""Fetching and unpacking artifacts, which come from strangers: bounded in every way, never outside.

http and https URLs by way of the cache, file URLs directly. Everything here blocks; the runtime calls it in a
thread of its own and cancels it by an event.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from agent.artifact_cache import ArtifactCache
from agent.artifact_limits import ArtifactError, Limits, check_cancelled
from agent.unpacking import unpack

__all__ = ["ArtifactError", "Limits", "fetch"]

_CHUNK_BYTES = 256 * 1024


def fetch(
    url: str,
    directory: Path,
    cancelled: threading.Event,
    limits: Limits | None = None,
    *,
    sha256: str = "",
    cache: ArtifactCache | None = None,
) -> None:
    """Put the unpacked artifact into `directory`/root, or an empty directory there if `url` is empty.

    `sha256`: of the archive, in hexadecimal; "" for any. Raises ArtifactError and OSError (the disk is full).
    """
    limits = limits or Limits()
    root, archive = directory / "root", directory / "artifact"
    root.mkdir()
    if not url:
        return
    try:
        if url.startswith("file://"):
            # A copy, so that what is unpacked is what was looked at.
            with archive.open("w+b") as file:
                _copy(url, file, sha256, cancelled, limits)
                unpack(file, root, cancelled, limits)
        else:
            cache = cache or ArtifactCache(archive, 0, 0.0)
            with cache.open(url, sha256, cancelled, limits) as file:
                unpack(file, root, cancelled, limits)
    except ArtifactError as error:
        raise ArtifactError(f"artifact {url}: {error}") from error
    finally:
        if archive.is_dir():
            for left in archive.iterdir():
                left.unlink()
            archive.rmdir()
        archive.unlink(missing_ok=True)


def _copy(url: str, to: IO[bytes], sha256: str, cancelled: threading.Event, limits: Limits) -> None:
    deadline = time.monotonic() + limits.seconds
    digest = hashlib.sha256()
    size = 0
    with _open_local(Path(unquote(urlsplit(url).path))) as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(chunk)
            if size > limits.download_bytes:
                raise ArtifactError(f"more than {limits.download_bytes} bytes")
            if time.monotonic() > deadline:
                raise ArtifactError(f"not fetched within {limits.seconds:g} s")
            check_cancelled(cancelled)
            digest.update(chunk)
            to.write(chunk)
    if sha256 and digest.hexdigest() != sha256:
        raise ArtifactError(f"its SHA-256 is {digest.hexdigest()}, not {sha256}")
    to.flush()
    to.seek(0)


def _open_local(path: Path) -> IO[bytes]:
    try:
        # Non-blocking, so that a FIFO is refused below instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ArtifactError(error.strerror or str(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ArtifactError("not a regular file")
    return os.fdopen(descriptor, "rb")
