"""A registry file of the schema before is taken over as it is; a release of the brake survives restarts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actors.store import FILE_NAME, SCHEMA_VERSION, Store
from scheduling.desired import AGENT, FLEET, RELEASE, Agent, BrakeRelease, Desired

# What schema 2 has added.
_SECOND = ("fleet", "migrations", "histories")


def test_a_file_of_schema_1_is_upgraded_with_what_is_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = Agent(name="a", endpoint="http://a:1", sources=("file",), version=1)
    store.commit(1, {(AGENT, "a"): one}, {})
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        for table in _SECOND:
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE agents SET body = json_remove(body, '$.declared_lost')")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    store = Store(tmp_path)
    assert store.load() == (1, {(AGENT, "a"): one})
    store.commit(2, {(FLEET, RELEASE): BrakeRelease(version=2)}, {})
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    connection.close()


def test_a_release_of_the_brake_is_there_after_a_restart_until_it_is_ended(tmp_path: Path) -> None:
    release = BrakeRelease(version=1)
    store = Store(tmp_path)
    store.commit(1, {(FLEET, RELEASE): release}, {})
    store.close()
    store = Store(tmp_path)
    desired = Desired()
    desired.apply(store.load()[1])
    assert desired.brake_release == release
    store.commit(2, {(FLEET, RELEASE): None}, {})
    assert store.load() == (2, {})
    store.close()
