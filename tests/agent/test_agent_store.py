"""The agent's files: found again as they were, damaged ones told apart, one owner at a time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.lifecycle import State
from agent.store import DataDirError, ProcessMark, Record, Store, lock_data_dir, valid_id
from scheduling.container import ExitStatus
from scheduling.job import Command, ContainerConfig

CONFIG = ContainerConfig(product="p", ports={"HTTP": 30000}, command=Command(exec=["x"]))
RECORD = Record(
    state=State.RESTARTING,
    process=ProcessMark(12, 34, "boot"),
    unpacked=True,
    err="é",
    exit=ExitStatus(signaled=True, signal=9),
    restarts=3,
    started_at=1.5,
    delay_seconds=4.0,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    os.close(lock_data_dir(tmp_path))
    return Store(tmp_path)


def test_what_was_written_is_found_again(store: Store) -> None:
    store.create("a-0", CONFIG, Record())
    store.save("a-0", RECORD)
    store.make_durable("a-0")
    (stored,) = store.load()
    assert (stored.container_id, stored.config, stored.record) == ("a-0", CONFIG, RECORD)


def test_what_may_hold_secrets_is_nobody_elses_to_read(store: Store, tmp_path: Path) -> None:
    store.create("a-0", CONFIG, Record())
    modes = {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0}


def test_a_state_is_replaced_in_one_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("a-0", CONFIG, RECORD)

    def fail(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="No space left"):
        store.save("a-0", Record(state=State.FINISHED))
    (stored,) = store.load()
    assert stored.record == RECORD


def test_a_create_that_fails_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        store.create("a-0", CONFIG, Record())
    assert not store.directory("a-0").exists()
    assert store.load() == []


def test_a_config_and_a_stop_are_on_disk_before_they_are_answered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(Path(f"/proc/self/fd/{fd}").readlink().name))
    store.create("a-0", CONFIG, Record())
    assert synced == ["state.new", "a-0", "config.new", "a-0", "containers"]
    synced.clear()
    store.save("a-0", RECORD)
    assert synced == [], "a mere state does not wait for the disk"
    store.make_durable("a-0")
    assert synced == ["state", "a-0"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"state":"dancing"}', b"[]"])
def test_a_lost_record_never_starts_anything(store: Store, content: bytes) -> None:
    store.create("a-0", CONFIG, RECORD)
    (store.directory("a-0") / "state").write_bytes(content)
    (stored,) = store.load()
    assert stored.record.state is State.FAILED
    assert stored.record.err


def test_what_was_half_made_is_cleared_away(store: Store) -> None:
    store.create("whole-0", CONFIG, Record())
    staging = store.staging()
    (staging / "root").mkdir()
    store.create("half-0", CONFIG, Record())
    (store.directory("half-0") / "config").unlink()
    assert [stored.container_id for stored in store.load()] == ["whole-0"]
    assert [entry.name for entry in store.directory("x").parent.iterdir()] == ["whole-0"]


def test_removing_is_at_once_and_the_id_is_free_again(store: Store) -> None:
    store.create("a-0", CONFIG, Record())
    trash = store.remove("a-0")
    assert store.load() == [] or not store.directory("a-0").exists()
    store.create("a-0", CONFIG, Record())
    store.discard(trash)
    assert not trash.exists()
    assert store.directory("a-0").exists()


def test_an_artifact_takes_its_place_and_replaces_an_older_one(store: Store) -> None:
    store.create("a-0", CONFIG, Record())
    for name in ("old", "new"):
        staging = store.staging()
        (staging / "root").mkdir()
        (staging / "root" / name).touch()
        store.place(staging, "a-0")
    assert [entry.name for entry in (store.directory("a-0") / "root").iterdir()] == ["new"]


@pytest.mark.parametrize("container_id", ["web-ec609ab-0", "a", "_x", "A.b-c_d", "x" * 200])
def test_good_ids(container_id: str) -> None:
    assert valid_id(container_id)


@pytest.mark.parametrize(
    "container_id", ["", ".", "..", ".a", "-a", "a/b", "a\n", "a\0", "é", "x" * 201, "a b"]
)
def test_bad_ids(container_id: str) -> None:
    assert not valid_id(container_id)


def test_a_data_directory_has_one_owner(tmp_path: Path) -> None:
    lock = lock_data_dir(tmp_path)
    with pytest.raises(DataDirError, match="in use by another agent"):
        lock_data_dir(tmp_path, patience_seconds=0)
    os.close(lock)
    os.close(lock_data_dir(tmp_path, patience_seconds=0))
