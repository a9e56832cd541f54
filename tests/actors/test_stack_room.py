"""Calls do not map and unmap memory, however deep in its parent's frames an actor was made."""

from __future__ import annotations

import resource
from collections.abc import Callable

from actors.stack_room import with_stack_room

CALLS = 1000
# More than one piece of CPython's stack of frames holds.
DEPTHS = 300


def page_faults_of_calls() -> int:
    """How many pages the kernel had to bring in for so many calls, as a loop makes them."""

    def called() -> None:
        pass

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(CALLS):
        called()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def at_depth(depth: int, measure: Callable[[], int]) -> int:
    return at_depth(depth - 1, measure) if depth else measure()


def test_no_depth_is_one_at_which_each_call_maps_memory() -> None:
    worst = max(at_depth(depth, lambda: with_stack_room(page_faults_of_calls)) for depth in range(DEPTHS))
    assert worst < CALLS / 2
