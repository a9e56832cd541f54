"""Unpacking an archive of any kind that is understood, told apart by content, never outside its root."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO

from agent.artifact_limits import ArtifactError, Budget, Limits
from agent.untar import UNREADABLE as _UNREADABLE_TAR
from agent.untar import untar
from agent.unzip import MAGICS as _ZIP_MAGICS
from agent.unzip import UNREADABLE as _UNREADABLE_ZIP
from agent.unzip import unzip


def unpack(file: IO[bytes], root: Path, cancelled: threading.Event, limits: Limits | None = None) -> None:
    """Unpack an archive below `root`: zip, or tar, plain or by gzip, bzip2, xz or zstd.

    Raises ArtifactError for one that is broken or unsafe, and OSError if the disk is full.
    """
    budget = Budget(limits or Limits(), os.fstat(file.fileno()).st_size)
    is_zip = file.read(4) in _ZIP_MAGICS
    file.seek(0)
    kind = "zip" if is_zip else "tar"
    try:
        (unzip if is_zip else untar)(file, root, cancelled, budget)
    except (*_UNREADABLE_TAR, *_UNREADABLE_ZIP) as error:
        raise ArtifactError(f"not a usable {kind} archive: {error}") from error
    except OSError as error:
        if error.errno is None:  # not of the disk, but of a library that reads what is compressed
            raise ArtifactError(f"not a usable {kind} archive: {error}") from error
        raise
