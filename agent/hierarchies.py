"""Where this process is in the host's cgroups: v1 has a tree of groups for each controller, v2 one for all.

Hosts have the one or the other, or both beside each other, where v2 may be there without controllers.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

# What is limited, as a job's `limits` call it → the controller that does it.
CONTROLLERS = {"mem": "memory", "cpu": "cpu", "pids": "pids"}
_OCTAL = re.compile(r"\\([0-7]{3})")


class Hierarchy(msgspec.Struct, frozen=True):
    """One tree of groups: `version` 1 or 2, its controllers, and which groups may hold ours, best first."""

    version: int
    controllers: frozenset[str]
    places: tuple[Path, ...]


def hierarchies(mounts: str, own: str) -> list[Hierarchy]:
    """The hierarchies of a host, v2 first: `mounts` is /proc/self/mountinfo, `own` /proc/self/cgroup."""
    paths = dict(_own_paths(own))
    found = []
    for root, mount, kind, options in _mounts(mounts):
        version = 2 if kind == "cgroup2" else 1
        key = "" if version == 2 else next((option for option in options if option in paths), None)
        if key is None or key not in paths:
            continue
        below = os.path.relpath(paths[key], root)
        # Out of what is mounted here when this process is in a namespace of its own: the top is all there is.
        here = mount if below.startswith("..") else mount / below
        controllers = _controllers_of(mount) if version == 2 else frozenset(options)
        wanted = controllers & set(CONTROLLERS.values())
        if version == 2 or wanted:
            found.append(Hierarchy(version, wanted, tuple(dict.fromkeys((here, mount)))))
    return sorted(found, key=lambda each: -each.version)


def cgroup_mounts() -> list[Path]:
    """Where cgroups are mounted, of both versions."""
    return [mount for _, mount, _, _ in _mounts(Path("/proc/self/mountinfo").read_text())]


def of_this_host() -> list[Hierarchy]:
    """The hierarchies that this process sees."""
    try:
        mounts, own = Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    except OSError:
        return []
    return hierarchies(mounts, own)


def _own_paths(own: str) -> Iterator[tuple[str, str]]:
    """Controller (v2: "") → the group this process is in."""
    for line in own.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            yield controller, path


def _mounts(mounts: str) -> Iterator[tuple[str, Path, str, list[str]]]:
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, rest = after.partition(" ")
        if kind in ("cgroup", "cgroup2"):
            root, mount = before.split()[3:5]
            yield _plain(root), Path(_plain(mount)), kind, rest.split()[-1].split(",")


def _plain(word: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), word)


def _controllers_of(mount: Path) -> frozenset[str]:
    try:
        return frozenset((mount / "cgroup.controllers").read_text().split())
    except OSError:
        return frozenset()
