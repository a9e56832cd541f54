"""A registry file of the schema before is taken over as it is; a release of the brake survives restarts."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actors.store import FILE_NAME, SCHEMA_VERSION, Store
from scheduling.desired import AGENT, FLEET, RELEASE, Agent, BrakeRelease, Desired
from scheduling.moves import Move, Rebalance
from scheduling.rebalancing import THE_ONE

# What schemas 2 and 3 have added.
_ADDED = ("fleet", "migrations", "histories", "rebalances")


def test_a_file_of_schema_1_is_upgraded_with_what_is_in_it(tmp_path: Path) -> None:
    store = Store(tmp_path)
    one = Agent(name="a", endpoint="http://a:1", sources=("file",), version=1)
    store.commit(1, {(AGENT, "a"): one}, {})
    store.close()
    with sqlite3.connect(tmp_path / FILE_NAME) as connection:
        for table in _ADDED:
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


def test_a_rebalance_is_there_after_a_restart(tmp_path: Path) -> None:
    move = Move(task="web-0a1b2c3-0", source="a", target="b", why="a is 90% full, b 10%")
    row = Rebalance(moves=(move,), begun_at=1.0, deadline_at=2.0, generation=1)
    store = Store(tmp_path)
    store.commit(1, {THE_ONE: row}, {})
    store.close()
    store = Store(tmp_path)
    desired = Desired()
    desired.apply(store.load()[1])
    assert desired.under_way == row
    store.close()
