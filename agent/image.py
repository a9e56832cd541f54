"""What an unpacked artifact is to its task: files beside the host's, a root of its own, or an OCI bundle.

Of a bundle's `config.json` only who the program is to be, its variables and where the root is are taken.
Namespaces, mounts, capabilities, hooks and devices are not, whatever it asks for.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from agent.rootfs import is_root_filesystem, resolve
from config.bounds import ARCHIVE_READ_BYTES, LONGEST_SHOWN
from scheduling.job import DRIVERS

_LARGEST_ID = 2**32 - 2


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """`root` is the files; with `own` they are all that the task sees. `ids`: uid and gid of the program."""

    root: Path
    own: bool
    env: dict[str, str] = {}
    ids: tuple[int, int] = (0, 0)


class ImageError(ValueError):
    """An artifact is not what the driver needs; the text says why."""


class _Root(msgspec.Struct):
    path: str = "rootfs"


class _User(msgspec.Struct):
    uid: int = 0
    gid: int = 0


class _Process(msgspec.Struct):
    user: _User = msgspec.field(default_factory=_User)
    env: list[str] = []


class _Config(msgspec.Struct):
    root: _Root = msgspec.field(default_factory=_Root)
    process: _Process = msgspec.field(default_factory=_Process)


_DECODER = msgspec.json.Decoder(_Config)


def read_image(artifact: Path, driver: str) -> Image:
    """What an unpacked artifact is for a driver. Raises ImageError."""
    if driver == "oci":
        path = artifact / "config.json"
        if path.is_file() and not path.is_symlink():
            return _bundle(artifact, path)
        if not is_root_filesystem(artifact):
            needed = "a root file system (with etc, and usr or bin) or an OCI bundle"
            raise ImageError(f"driver oci needs an artifact that is {needed}")
    return Image(root=artifact, own=driver not in ("", DRIVERS[0]) and is_root_filesystem(artifact))


def _bundle(artifact: Path, path: Path) -> Image:
    try:
        with path.open("rb") as file:
            config = _DECODER.decode(file.read(ARCHIVE_READ_BYTES))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"config.json of the artifact is not that of an OCI bundle: {error}") from error
    root, user = resolve(artifact, config.root.path), config.process.user
    if root is None or root == artifact or not root.is_dir():
        shown = config.root.path[:LONGEST_SHOWN]
        raise ImageError(f"root.path {shown!r} of config.json is not a directory in the artifact")
    if not all(0 <= number <= _LARGEST_ID for number in (user.uid, user.gid)):
        raise ImageError(f"user {user.uid}:{user.gid} of config.json is none")
    pairs = (pair.split("=", 1) for pair in config.process.env if "=" in pair and "\0" not in pair)
    return Image(root=root, own=True, env=dict(pairs), ids=(user.uid, user.gid))
