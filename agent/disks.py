"""The disks of this host that tasks write to: how full they are, and when no more tasks are taken."""

from __future__ import annotations

import os
from pathlib import Path

from agent.settings import Settings
from scheduling.container import Disk

_BYTES_PER_MB = 1024 * 1024


def usage(settings: Settings) -> dict[str, Disk]:
    """The disk of the data directory and of each volume, by path; one that can't be asked is left out.

    May block for long, where a volume is on a server that is gone.
    """
    found = {}
    for path in (str(settings.data), *settings.volumes):
        try:
            disk = os.statvfs(path)
        except OSError:
            continue
        found[path] = Disk(total=disk.f_blocks * disk.f_frsize, free=disk.f_bavail * disk.f_frsize)
    return found


def lack_of_disk(data: Path, reserve_bytes: int) -> str:
    """Why no more tasks are taken, "" if they are: what is left belongs to those that run."""
    disk = os.statvfs(data)
    free_bytes = disk.f_bavail * disk.f_frsize
    if free_bytes >= reserve_bytes:
        return ""
    free_mb, reserve_mb = free_bytes // _BYTES_PER_MB, reserve_bytes // _BYTES_PER_MB
    return f"no room: the disk of {data} is full, {free_mb} MB are free and {reserve_mb} kept for what runs"
