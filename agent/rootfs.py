"""Artifacts that are a root file system of their own: what is in them is looked up as if they were the root.

An absolute link in one means a place in it, not on the host.
"""

from __future__ import annotations

import os
from pathlib import Path

_LINKS_FOLLOWED = 40  # as the kernel follows


def is_root_filesystem(root: Path) -> bool:
    """Whether an unpacked artifact is a root file system: it has `etc`, and `usr` or `bin`."""
    return (root / "etc").is_dir() and any((root / name).is_dir() for name in ("usr", "bin"))


def resolve(root: Path, path: str) -> Path | None:
    """Where on the host `path` of a root file system is, links followed in it.

    None for a loop of links, and for what the system can't even look up.
    """
    at, links = root, 0
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while todo:
        part = todo.pop()
        if part == "..":
            at = root if at == root else at.parent
            continue
        at = at / part
        try:
            target = os.readlink(at) if at.is_symlink() else ""  # noqa: PTH115 - as text
        except OSError:
            return None
        if target:
            links += 1
            if links > _LINKS_FOLLOWED:
                return None
            at = root if target.startswith("/") else at.parent
            todo += [word for word in reversed(target.split("/")) if word not in ("", ".")]
    return at


def seen_from(root: Path, place: Path) -> Path:
    """What a place on the host is called in its root file system."""
    return Path("/") / place.relative_to(root)
