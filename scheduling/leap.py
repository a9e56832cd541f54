"""Versions never go back, even when the registry's file was lost: restoring a snapshot leaps ahead.

A state machine ignores commands for generations older than what it knows, and generations are versions of
the registry. It may outlive the registry's file: then a new registry counts from 1 again, and nothing of it
would be obeyed. The snapshot says how far the lost registry was when it was taken, and it can't have written
RESTORE_LEAP versions since. What has been placed before the restore is given a new generation, too.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from scheduling.desired import PLACEMENT, Desired
from scheduling.replica import Changes

# At 30 versions a second, a year of them; some millions of leaps fit into the numbers of JSON.
RESTORE_LEAP = 1_000_000_000
# Of a snapshot: so that there is room for leaps still.
LARGEST_VERSION = 2**52


def next_version(at: int, taken_at: Iterable[int]) -> int:
    """The version after `at` that a commit brings in which snapshots of these versions are restored."""
    newest = max(taken_at, default=0)
    return newest + RESTORE_LEAP if newest > at else at + 1


def raised(desired: Desired, version: int) -> Changes:
    """The placements from before a leap to this version, with a generation from after it."""
    return {
        (PLACEMENT, row.task): msgspec.structs.replace(row, generation=version)
        for row in desired.placements.values()
        if row.generation <= version - RESTORE_LEAP
    }
