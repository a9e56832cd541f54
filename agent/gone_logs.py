"""The logs of tasks that are gone, kept for a while: why it ended is asked when it has ended.

    DATA/logs/ID/log, log.1        as they were when the container was deleted; the last one of that id

Bounded by age and by size of them all, the oldest first.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from pathlib import Path

from agent.log import TaskLog

_NAMES = ("log", "log.1")
_LOG = logging.getLogger(__name__)


class GoneLogs:
    """The kept logs below one directory. All methods block on the disk, and may be called by any thread."""

    def __init__(self, directory: Path, keep_seconds: float, most_bytes: int) -> None:
        self._directory = directory
        self._keep_seconds = keep_seconds
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def bury(self, container_id: str, files: Path) -> None:
        """Keep the log among a container's files, with what its task wrote to the last."""
        TaskLog(container_id, files).follow(last=True)
        if self._keep_seconds <= 0 or not (files / _NAMES[0]).exists():
            return
        try:
            with self._lock:
                place = self._directory / container_id
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir(mode=0o700, parents=True)
                for name in _NAMES:
                    if (files / name).exists():
                        (files / name).rename(place / name)
        except OSError as error:
            _LOG.warning("the log of %s, which is gone, is not kept: %s", container_id, error)
        self.clean()

    def find(self, container_id: str) -> TaskLog | None:
        """The log of a container that is gone, while it is kept."""
        place = self._directory / container_id
        return TaskLog(container_id, place) if place.is_dir() else None

    def clean(self) -> None:
        """Let go of what is too old, and of the oldest while all of them are too large."""
        with self._lock:
            # What is no directory is not ours.
            found = sorted(_age_and_size(place) for place in self._directory.glob("*/"))
            total = sum(size for _, size, _ in found)
            for gone_at, size, place in found:
                if time.time() - gone_at > self._keep_seconds or total > self._most_bytes:
                    shutil.rmtree(place, ignore_errors=True)
                    total -= size


def _age_and_size(place: Path) -> tuple[float, int, Path]:
    sizes = [entry.stat().st_size for entry in os.scandir(place)]
    return place.stat().st_mtime, sum(sizes), place
