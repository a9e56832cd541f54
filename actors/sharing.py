"""What keeps memory shared by an actor and its forks: each page that one of them writes to is copied."""

from __future__ import annotations

import gc
import sys

# A collection per 700 new objects, Python's default, costs 5% where thousands of reports come in.
GARBAGE_THRESHOLD = 20_000


def keep_inherited() -> None:
    """As a fork begins: what came from its maker is never garbage, and stays shared if left alone."""
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def forget_lookups() -> None:
    """Before the first of many forks: have CPython forget which attributes were looked up.

    It keeps the last 4,096 of them, each with a reference to its name. Forks that look up others would drop
    the names that were of use to us alone, one by one, and copy the pages where they are.
    """
    sys._clear_type_cache()
