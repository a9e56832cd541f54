"""How much an artifact may cost, and what is said of one that costs more or is wrong."""

from __future__ import annotations

import threading

import msgspec

from config.bounds import (
    ARTIFACT_DOWNLOAD_BYTES,
    ARTIFACT_MEMBERS,
    ARTIFACT_RATIO,
    ARTIFACT_RATIO_FREE_BYTES,
    ARTIFACT_SECONDS,
    ARTIFACT_UNPACKED_BYTES,
)


class ArtifactError(Exception):
    """An artifact can't be had or must not be unpacked; the text becomes `process_state.err`."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much an artifact may cost, downloaded and unpacked.

    Unpacked it may be `ratio` times as large as the archive; up to `ratio_free_bytes` nobody counts.
    """

    download_bytes: int = ARTIFACT_DOWNLOAD_BYTES
    unpacked_bytes: int = ARTIFACT_UNPACKED_BYTES
    members: int = ARTIFACT_MEMBERS
    seconds: float = ARTIFACT_SECONDS
    ratio: int = ARTIFACT_RATIO
    ratio_free_bytes: int = ARTIFACT_RATIO_FREE_BYTES


class Budget:
    """What may still be unpacked of one archive. Raises ArtifactError when it is spent."""

    def __init__(self, limits: Limits, archive_bytes: int) -> None:
        self._limits = limits
        self._ratio_bytes = max(limits.ratio_free_bytes, limits.ratio * archive_bytes)
        self._members = 0
        self._bytes = 0
        # Headers and padding count where they are read, so that the archive's own size bounds them.
        self.stream_bytes = min(limits.unpacked_bytes, self._ratio_bytes) + 2048 * limits.members

    def take(self, size: int) -> None:
        """One more member of this size: links cost as much as their files, sparse files their whole size."""
        self._members += 1
        self._bytes += size
        limits = self._limits
        if self._members > limits.members or self._bytes > limits.unpacked_bytes:
            raise ArtifactError(
                f"unsafe archive: more than {limits.members} members or {limits.unpacked_bytes} bytes"
            )
        if self._bytes > self._ratio_bytes:
            raise ArtifactError(f"unsafe archive: unpacked more than {limits.ratio} times as large as packed")


def check_cancelled(cancelled: threading.Event) -> None:
    """Raise ArtifactError once nobody wants the artifact any more."""
    if cancelled.is_set():
        raise ArtifactError("fetching was cancelled")
