"""Where a member of an archive may go: below the root, through no link, and nothing twice.

Rules that are simpler than those of the archive libraries: nothing is unpacked through a symbolic link, and a
link's target climbs first and descends then, so that a link can be judged by its text alone.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from agent.artifact_limits import ArtifactError
from config.bounds import LONGEST_ARCHIVE_NAME as _LONGEST_NAME


def safe_parts(path: str, shown: str) -> tuple[str, ...]:
    """The parts of a path inside an archive. Raises ArtifactError for one that leads out of it."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or len(path) > _LONGEST_NAME or "\x00" in path:
        raise ArtifactError(f"unsafe archive: {shown[:_LONGEST_NAME]!r} is not inside it")
    return parts


def refuse_symlinks(root: Path, parts: tuple[str, ...], shown: str) -> None:
    """Raise ArtifactError if a path below the root leads through a symbolic link."""
    place = root
    for part in parts:
        place = place / part
        if place.is_symlink():
            raise ArtifactError(f"unsafe archive: {shown!r} passes through the link {place.name!r}")


def check_link(parts: tuple[str, ...], target: str, shown: str) -> None:
    """Raise ArtifactError for a symbolic link at `parts` whose target could be out of the root."""
    link = PurePosixPath(target)
    climbs = 0
    while climbs < len(link.parts) and link.parts[climbs] == "..":
        climbs += 1
    if not target or link.is_absolute() or climbs > len(parts) - 1 or ".." in link.parts[climbs:]:
        raise ArtifactError(f"unsafe archive: link {shown!r} leads to {target[:_LONGEST_NAME]!r}")
    if len(target) > _LONGEST_NAME or "\x00" in target:
        raise ArtifactError(f"unsafe archive: link {shown!r} has a target that is too long")


def check_new(root: Path, parts: tuple[str, ...], shown: str, *, directory: bool) -> None:
    """Raise ArtifactError for a name that was there before: two readers of an archive could differ about it.

    Only a directory may be named again, as one.
    """
    place = root.joinpath(*parts)
    if place.is_symlink():
        raise ArtifactError(f"unsafe archive: {shown!r} would be written through a link")
    if os.path.lexists(place) and not (directory and place.is_dir()):
        raise ArtifactError(f"unsafe archive: {shown!r} is in it twice")
