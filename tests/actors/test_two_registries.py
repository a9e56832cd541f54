"""The row of the table of failures: two registries on one store."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from actors.store import Store, StoreError


def test_two_registries_on_one_store(tmp_path: Path) -> None:
    """ "Impossible: an exclusive lock, and the loser exits". That the program exits with a line that says so
    is test_a_second_scheduler_on_the_same_data in tests/system/test_system_start_errors.py."""
    first = Store(tmp_path)
    with pytest.raises(StoreError, match=r"another registry uses .*; one at a time"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


def test_without_the_lock_there_would_be_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    first, second = Store(tmp_path), Store(tmp_path)
    first.commit(1, {}, {})
    assert second.load()[0] == 1, "both write the same file"
    first.close()
    second.close()
