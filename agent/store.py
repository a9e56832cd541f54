"""What the agent keeps on disk, so that it finds everything again after any kind of end.

    DATA/lock                     held by the one agent that may use this directory
    DATA/containers/ID/config     the ContainerConfig, with the ports really used; never changes
    DATA/containers/ID/state      a Record: where the container is in its life
    DATA/containers/ID/root/      the unpacked artifact
    DATA/containers/ID/output     what the task writes; log, log.1: the same, stamped (agent.log)
    DATA/containers/ID/exit       how the task ended, written by its shim
    DATA/containers/ID/bundle/    what runc is told of it, and oci/: what runc notes down (agent.oci)
    DATA/logs/ID/                 the log of a container that is gone (agent.gone_logs)
    DATA/artifacts/               downloaded archives (agent.artifact_cache)

A config is on disk before its PUT is answered, and so is the wish to stop, the removal, and what was unpacked
before it is run. Other states are only handed to the kernel: they need to survive the agent, and if the host
itself goes down there is no process left that they could describe.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.lifecycle import State
from scheduling.canonical import go_json
from scheduling.container import ExitStatus
from scheduling.job import CONTAINER_CONFIG_DECODER, ContainerConfig

_CONTAINER_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_STAGING = ".staging-"
_LIBC = ctypes.CDLL(None, use_errno=True)
# What a removed container's directory is called until its files are deleted.
_GONE = re.compile(r"\.gone-[0-9a-f]{8}-(.+)")


class ProcessMark(msgspec.Struct, frozen=True):
    """Which process a task is: a pid alone could be another one's by now.

    `start_ticks` is its start time in clock ticks after boot `boot_id`.
    """

    pid: int
    start_ticks: int
    boot_id: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a container that changes, as it is on disk; times are Unix seconds."""

    state: State = State.FETCHING
    process: ProcessMark | None = None
    unpacked: bool = False
    err: str = ""
    exit: ExitStatus = ExitStatus()
    restarts: int = 0
    ooms: int = 0
    restarts_in_a_row: int = 0
    next_start_at: float = 0.0
    started_at: float = 0.0
    delay_seconds: float = 0.0


class Stored(msgspec.Struct, frozen=True):
    """A container found on disk; `config` is None where it can't be read."""

    container_id: str
    config: ContainerConfig | None
    record: Record


class DataDirError(Exception):
    """The data directory can't be used; the text says why."""


_RECORD_DECODER = msgspec.json.Decoder(Record)


def valid_id(container_id: str) -> bool:
    """Whether an id is fit to be the name of a directory."""
    return _CONTAINER_ID.fullmatch(container_id) is not None


def lock_data_dir(data: Path, patience_seconds: float = 3.0) -> int:
    """Create and lock a data directory; returns the descriptor that holds the lock until it is closed.

    An agent that was just killed may take a moment to be gone wholly: that long is waited for it.
    Raises DataDirError if the directory is not writable or another agent uses it.
    """
    try:
        (data / "containers").mkdir(parents=True, exist_ok=True)
        # Besides the lock file itself, containers must be possible: try it, root may write anywhere
        # but not on a read-only file system.
        probe = data / "containers" / ".probe"
        probe.mkdir(exist_ok=True)
        probe.rmdir()
        lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataDirError(f"cannot use data directory {data}: {error.strerror}") from error
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if time.monotonic() > deadline:
                os.close(lock)
                raise DataDirError(f"data directory {data} is in use by another agent") from error
            time.sleep(0.05)
        else:
            return lock


class Store:
    """The containers of one data directory, on disk."""

    def __init__(self, data: Path, bury: Callable[[str, Path], None] | None = None) -> None:
        """`bury` is handed the id and the files of each container before these are deleted."""
        self._containers = data / "containers"
        self._bury = bury

    def directory(self, container_id: str) -> Path:
        """Where a container's files are."""
        return self._containers / container_id

    def create(self, container_id: str, config: ContainerConfig, record: Record) -> None:
        """Make a container's directory durably: after this it survives a power cut. Raises OSError."""
        directory = self.directory(container_id)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o755)
        try:
            _write(directory / "state", msgspec.json.encode(record), durable=True)
            # The config last: a directory without one was never acknowledged.
            _write(directory / "config", go_json(config) + b"\n", durable=True)
            _sync(self._containers)
        except OSError:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def staging(self) -> Path:
        """A new directory to unpack an artifact in: whatever happens there, no container is touched."""
        return Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._containers))

    def settle(self, staging: Path) -> None:
        """Have what was unpacked in `staging` on disk. Raises OSError.

        Before it gets its name: after a power cut a task must not run on files that are there and empty. One
        call for all of them; each by itself would take far longer.
        """
        _sync_disk(staging)

    def place(self, staging: Path, container_id: str) -> None:
        """Make the root unpacked in `staging` that of a container. Raises OSError."""
        root = self.directory(container_id) / "root"
        if root.exists():
            root.rename(staging / "old")
        (staging / "root").rename(root)

    def save(self, container_id: str, record: Record) -> None:
        """Replace a container's record; survives the agent, not yet a power cut. Raises OSError."""
        _write(self.directory(container_id) / "state", msgspec.json.encode(record), durable=False)

    def make_removals_durable(self) -> None:
        """Make what was removed stay away after a power cut. Raises OSError."""
        _sync(self._containers)

    def make_durable(self, container_id: str) -> None:
        """Make the last saved record survive a power cut. Raises OSError."""
        directory = self.directory(container_id)
        _sync(directory / "state")
        _sync(directory)

    def remove(self, container_id: str) -> Path:
        """Forget a container at once; returns what is left of it on disk, for `discard`. Raises OSError."""
        trash = self._containers / f".gone-{os.urandom(4).hex()}-{container_id}"
        # Nothing but a rename: a full disk must not keep what would make room on it.
        self.directory(container_id).rename(trash)
        return trash

    def bury(self, trash: Path) -> None:
        """Keep of a removed container's files what is to outlive it."""
        if self._bury is not None and (gone := _GONE.fullmatch(trash.name)):
            self._bury(gone[1], trash)

    def discard(self, trash: Path) -> None:
        """Delete a removed container's files or a staging directory, which may take long."""
        self.bury(trash)
        shutil.rmtree(trash, ignore_errors=True)

    def load(self) -> list[Stored]:
        """All containers on disk; what was half created or half deleted is cleared away."""
        found = []
        for directory in sorted(self._containers.iterdir()):
            if not valid_id(directory.name) or not (directory / "config").exists():
                self.discard(directory)
                continue
            found.append(Stored(directory.name, _read_config(directory), _read_record(directory)))
        return found


def _read_config(directory: Path) -> ContainerConfig | None:
    try:
        return CONTAINER_CONFIG_DECODER.decode((directory / "config").read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None


def _read_record(directory: Path) -> Record:
    try:
        return _RECORD_DECODER.decode((directory / "state").read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        # Only a power cut leaves such a file, so no process is left. What was wanted is unknown, and a
        # task that was told to stop must not come back: leave it to the scheduler.
        return Record(state=State.FAILED, err="the agent's record of it was lost", unpacked=True)


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    """Replace a file in one step: a reader finds the old content or the new, never a part."""
    new = path.with_name(path.name + ".new")
    # A config may hold secrets in its env.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    new.rename(path)
    if durable:
        _sync(path.parent)


def _sync_disk(path: Path) -> None:
    """Write down all that the file system of a path holds back. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
