"""The registry on disk: what was committed is there, whole, and what can't be used is refused in one line."""

from __future__ import annotations

import contextlib
import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck as Check
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import store as store_module
from actors.store import FILE_NAME, SCHEMA_VERSION, Store, StoreError
from config.bounds import REQUESTS_KEPT
from scheduling.answer import Answer
from scheduling.desired import AGENT, JOB, PLACEMENT, Agent, Copy, Job, Placement
from scheduling.durations import Duration
from scheduling.job import Command, Grace, HealthCheck, JobConfig, Resources, Storage
from scheduling.replica import Changes

CONFIG = JobConfig(
    scale=2,
    product="p",
    environment="e",
    job="min",
    command=Command(working_dir="/", exec=["true", "é<>&\u2028"]),
    resources=Resources(mem=64, cpu=0.1, fd=7),
    grace=Grace(startup=Duration.parse("1.5s"), shutdown=Duration.parse("1m30s")),
    restart="no",
)


def job(config: JobConfig = CONFIG, version: int = 1) -> Job:
    return Job(prefix=config.hash(), hash=config.hash(), config=config, version=version)


def with_(**changes: Any) -> JobConfig:
    return msgspec.structs.replace(CONFIG, **changes)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    with contextlib.suppress(OSError):
        store.close()


def reopened(store: Store) -> Store:
    store.close()
    return Store(store.path.parent)


def refusal(directory: Path) -> str:
    with pytest.raises(StoreError) as caught:
        Store(directory).load()
    assert "\n" not in str(caught.value), "one line"
    return str(caught.value)


# --- what was committed is there --------------------------------------------------------------------


def test_a_new_store_is_empty_and_for_its_owner_only(store: Store) -> None:
    assert store.load() == (0, {})
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600, "jobs may hold secrets"


EVERYTHING: Changes = {
    (JOB, CONFIG.hash()): job(),
    (JOB, "rescaled-1234567"): msgspec.structs.replace(job(version=3), prefix="rescaled-1234567", adopt=True),
    (AGENT, "a"): Agent(
        name="a",
        endpoint="http://a:1",
        labels={"zone": "x"},
        sources=("file", "flags"),
        drained=True,
        lost_since=1.5,
        version=2,
    ),
    (AGENT, "b"): Agent(name="b", endpoint="http://b:1"),
    (PLACEMENT, "min-0"): Placement(task="min-0", generation=9, copies=(Copy("a", "stop"), Copy("b", "run"))),
}


def test_everything_comes_back_as_it_was_committed(store: Store) -> None:
    store.commit(7, EVERYTHING, {})
    again = reopened(store)
    assert again.load() == (7, EVERYTHING)
    again.close()


def test_newer_values_replace_older_ones_and_none_deletes(store: Store) -> None:
    store.commit(1, EVERYTHING, {})
    moved = Agent(name="a", endpoint="http://elsewhere:1")
    store.commit(2, {(AGENT, "a"): moved, (AGENT, "b"): None, (JOB, "nosuch"): None}, {})
    version, state = store.load()
    assert version == 2
    assert state == {key: value for key, value in EVERYTHING.items() if key != (AGENT, "b")} | {
        (AGENT, "a"): moved
    }


@pytest.mark.parametrize(
    "config",
    [
        with_(env=None, ports=None, health_checks=None, storage=Storage(tmp=None, volumes=None)),
        with_(env={}, ports={}, health_checks=[], storage=Storage(tmp={}, volumes={})),
        with_(command=Command(working_dir="/", exec=[])),
        with_(health_checks=[HealthCheck(protocol="HTTP", port="P", http_acceptable_responses=[200])]),
        with_(env={"A": "\x00\u2028<&>\U0001f600"}, ports={"P": 0}),
        with_(resources=Resources(mem=2**53, cpu=1e-7, fd=0)),
    ],
    ids=["null", "empty", "no words", "health check", "odd text", "odd numbers"],
)
def test_a_job_keeps_its_hash_on_disk(store: Store, config: JobConfig) -> None:
    store.commit(1, {(JOB, config.hash()): job(config)}, {})
    again = reopened(store)
    (loaded,) = again.load()[1].values()
    assert loaded.config == config
    assert loaded.config.hash() == config.hash(), "null and empty differ, floats are exact"
    again.close()


TEXTS = st.text(max_size=5)


@settings(deadline=None, max_examples=30, suppress_health_check=[Check.function_scoped_fixture])
@given(
    env=st.none() | st.dictionaries(TEXTS, TEXTS, max_size=3),
    cpu=st.floats(allow_nan=False, allow_infinity=False),
    grace=st.integers(0, 2**62),
    labels=st.dictionaries(TEXTS, TEXTS, max_size=3),
    generation=st.integers(0, 2**62),
    name=TEXTS,
)
def test_any_value_comes_back(
    store: Store,
    env: dict[str, str] | None,
    cpu: float,
    grace: int,
    labels: dict[str, str],
    generation: int,
    name: str,
) -> None:
    config = with_(env=env, resources=Resources(cpu=cpu), grace=Grace(startup=Duration(grace)))
    changes: Changes = {
        (JOB, name): job(config),
        (AGENT, name): Agent(name=name, endpoint="http://h:1", labels=labels),
        (PLACEMENT, name): Placement(task=name, generation=generation, copies=(Copy(name, "run"),)),
    }
    store.commit(1, changes, {})
    state = store.load()[1]
    assert {key: state[key] for key in changes} == changes
    store.commit(1, dict.fromkeys(changes), {})


# --- answers ----------------------------------------------------------------------------------------


def answer(text: str) -> tuple[str, Answer]:
    """An answer with the fingerprint of what was asked."""
    return f"asked {text}", Answer(result="created", message=text, version=3, hash="min-aad7b17")


def test_answers_are_remembered_by_the_id_of_their_request(store: Store) -> None:
    store.commit(1, {}, {"r1": answer("é"), "r2": answer("two")})
    again = reopened(store)
    assert again.answer("r1") == answer("é")
    assert again.answer("r2") == answer("two")
    assert again.answer("r3") is None
    assert again.answer("") is None
    again.close()


def test_only_the_latest_answers_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert REQUESTS_KEPT >= 10_000
    monkeypatch.setattr(store_module, "REQUESTS_KEPT", 3)
    for number in range(5):
        store.commit(number, {}, {f"r{number}": answer(str(number))})
    store = reopened(store)
    store.commit(9, {}, {"r5": answer("5")})
    kept = [number for number in range(6) if store.answer(f"r{number}") is not None]
    assert kept == [3, 4, 5]
    store.close()


# --- all or nothing ---------------------------------------------------------------------------------


def test_a_commit_that_fails_half_way_changes_nothing_and_the_next_one_works(store: Store) -> None:
    store.commit(1, EVERYTHING, {"r1": answer("one")})
    twice = {"r2": answer("two"), "r1": answer("the id is taken")}
    with pytest.raises(StoreError, match="can't be written"):
        store.commit(2, dict.fromkeys(EVERYTHING), twice)
    assert store.load() == (1, EVERYTHING)
    assert store.answer("r2") is None
    store.commit(2, {(AGENT, "b"): None}, {"r2": answer("two")})
    assert store.load()[0] == 2


def test_a_value_that_cannot_be_written_changes_nothing_and_the_next_one_works(store: Store) -> None:
    store.commit(1, EVERYTHING, {})
    unwritable = Agent(name="a", endpoint="http://a:1", labels={"x": "\udc80"})
    with pytest.raises((StoreError, UnicodeError)):
        store.commit(2, {(AGENT, "a"): unwritable, (AGENT, "b"): None}, {})
    assert store.load() == (1, EVERYTHING)
    store.commit(2, {(AGENT, "b"): None}, {})
    assert store.load()[0] == 2


def test_a_full_disk_is_refused_and_nothing_is_lost(store: Store) -> None:
    store.commit(1, EVERYTHING, {"r1": answer("one")})
    (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = Agent(name="big", endpoint="http://big:1", labels={"x": "y" * 1_000_000})
    with pytest.raises(StoreError, match=r"can't be written: database or disk is full") as caught:
        store.commit(2, {(AGENT, "big"): big, (AGENT, "a"): None}, {"r2": answer("two")})
    assert str(store.path) in str(caught.value)
    assert store.load() == (1, EVERYTHING)
    store._connection.execute("PRAGMA max_page_count = 1000000")
    store.commit(2, {(AGENT, "big"): big}, {"r2": answer("two")})
    again = reopened(store)
    assert again.load() == (2, EVERYTHING | {(AGENT, "big"): big})
    assert again.answer("r2") == answer("two")
    again.close()


_FILLING = """
import resource, signal, sys
from pathlib import Path
from actors.store import Store, StoreError
from scheduling.desired import AGENT, Agent

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(Path(sys.argv[1]))
store.commit(1, {(AGENT, "first"): Agent(name="first", endpoint="http://h:1")}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
version = 1
try:
    while True:
        name = f"n{version}"
        agent = Agent(name=name, endpoint="http://h:1", labels={"x": "y" * 10_000})
        store.commit(version + 1, {(AGENT, name): agent}, {})
        version += 1
except StoreError as error:
    print(error)
assert store.load()[0] == version
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.commit(version + 1, {(AGENT, "last"): Agent(name="last", endpoint="http://h:1")}, {})
print(version + 1)
"""


def test_a_file_that_may_not_grow_is_refused_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", _FILLING, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    error, version = done.stdout.splitlines()
    assert "can't be written" in error
    assert int(version) > 5
    store = Store(tmp_path)
    assert store.load()[0] == int(version)
    expected = {"first", "last", *(f"n{number}" for number in range(1, int(version) - 1))}
    assert {key[1] for key in store.load()[1]} == expected
    store.close()


def test_a_commit_is_on_the_disk_before_it_returns(store: Store) -> None:
    """Write-ahead log with a sync at every commit: what `commit` returned from survives a power cut."""
    ask = store._connection.execute
    assert ask("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ask("PRAGMA synchronous").fetchone() == (2,), "FULL"


# --- one at a time ----------------------------------------------------------------------------------


def test_a_second_store_on_the_same_directory_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    first = Store(tmp_path)
    assert refusal(tmp_path) == f"another registry uses {tmp_path}; one at a time"
    first.commit(1, EVERYTHING, {})
    first.close()
    second = Store(tmp_path)
    assert second.load()[0] == 1
    second.close()


def test_a_refused_store_lets_go_of_its_lock(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"rubbish" * 1000)
    refusal(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    Store(tmp_path).close()


# --- what can't be used -----------------------------------------------------------------------------


def closed_with(directory: Path, changes: Changes) -> Path:
    store = Store(directory)
    store.commit(1, changes, {})
    store.close()
    return store.path


def test_a_file_that_is_no_database_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"this is not a database " * 100)
    text = refusal(tmp_path)
    assert text.startswith(f"the registry file {path} can't be used (file is not a database); ")
    assert "move it away, start without it, then `harpoonctl snapshot restore FILE`" in text
    assert path.read_bytes().startswith(b"this is not"), "it is left as it was"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    many: Changes = {
        (AGENT, f"n{number}"): Agent(name=f"n{number}", endpoint="http://h:1") for number in range(2000)
    }
    path = closed_with(tmp_path, many)
    body = bytearray(path.read_bytes())
    for page in range(4096, len(body), 4096):
        body[page : page + 512] = b"\xff" * 512
    path.write_bytes(body)
    assert str(path) in refusal(tmp_path)


def test_a_file_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = closed_with(tmp_path, {})
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    connection.close()
    assert refusal(tmp_path) == (
        f"{path} has schema {SCHEMA_VERSION + 1}; this program knows {SCHEMA_VERSION}: use a newer one"
    )


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE agents SET body = '{'",
        "UPDATE agents SET body = '{\"name\": 5}'",
        "DROP TABLE agents",
        "DROP TABLE meta",
    ],
)
def test_a_file_with_broken_rows_is_refused(tmp_path: Path, damage: str) -> None:
    path = closed_with(tmp_path, {(AGENT, "a"): Agent(name="a", endpoint="http://h:1")})
    connection = sqlite3.connect(path)
    connection.execute(damage)
    connection.commit()
    connection.close()
    text = refusal(tmp_path)
    assert str(path) in text
    assert "snapshot restore" in text or "no such table" in text


def test_a_directory_that_is_not_there_or_no_directory_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(missing) == f"the data directory {missing} can't be written: No such file or directory"
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(file) == f"the data directory {file} can't be written: Not a directory"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_that_may_not_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        assert refusal(tmp_path) == f"the data directory {tmp_path} can't be written: Permission denied"
    finally:
        tmp_path.chmod(0o700)


def test_a_database_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert "unable to open database file" in refusal(tmp_path)
