"""How long the disk takes to make a small write durable: the part of a reply no program can save."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path


def fsync_seconds(directory: Path, times: int = 20) -> float:
    """The median of a 4 KiB append and fsync in a file of this directory."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=directory) as file:
        for _ in range(times):
            started = time.perf_counter()
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)
