"""Artifacts that are root file systems: made of the host's own programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from pathlib import Path


def root_filesystem(folder: Path) -> str:
    """A small root file system, with a shell behind a link: the URL of its archive."""
    return packed(make_root(folder / "made", "sleep"), folder / "root.tar.gz")


def make_root(root: Path, *programs: str) -> Path:
    """A root file system with a shell, these programs, and what they are linked to."""
    for name in ("etc", "srv", "usr", "bin", "lib", "lib64"):
        (root / name).mkdir(parents=True)
    shutil.copy(os.path.realpath("/bin/sh"), root / "usr/shell")
    (root / "bin/sh").symlink_to("../usr/shell")
    for program in programs:
        shutil.copy(os.path.realpath(shutil.which(program) or program), root / "usr" / program)
    for program in ("/bin/sh", *programs):
        _copy_libraries(shutil.which(program) or program, root)
    return root


def packed(folder: Path, archive: Path) -> str:
    """The URL of an archive of a directory."""
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, ".")
    return f"file://{archive}"


def _copy_libraries(program: str, root: Path) -> None:
    listed = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for library in (word for word in listed.split() if word.startswith("/")):
        (root / library[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.realpath(library), root / library[1:])
