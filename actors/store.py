"""The registry on disk: SQLite in WAL mode with synchronous=FULL, one table a kind.

What `commit` returned from has reached the disk. One process at a time: an exclusive lock on a file
beside the database, which the kernel drops with its holder.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from config.bounds import REQUESTS_KEPT
from scheduling.answer import Answer
from scheduling.desired import (
    AGENT,
    FLEET,
    HISTORY,
    JOB,
    MIGRATION,
    PLACEMENT,
    REBALANCE,
    Agent,
    BrakeRelease,
    Job,
    Placement,
)
from scheduling.history import History
from scheduling.job import decode_hook, encode_hook
from scheduling.migration import Migration
from scheduling.moves import Rebalance
from scheduling.replica import Key

SCHEMA_VERSION = 3
FILE_NAME = "registry.db"
_REMEDY = "move it away, start without it, then `harpoonctl snapshot restore FILE` brings a backup back"

_TABLES: dict[str, tuple[str, Any]] = {
    JOB: ("jobs", Job),
    AGENT: ("agents", Agent),
    PLACEMENT: ("placements", Placement),
    FLEET: ("fleet", BrakeRelease),
    MIGRATION: ("migrations", Migration),
    HISTORY: ("histories", History),
    REBALANCE: ("rebalances", Rebalance),
}
# What came with schema 2.
_SECOND = """
CREATE TABLE fleet (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE migrations (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE histories (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
# What came with schema 3.
_THIRD = """
CREATE TABLE rebalances (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
"""
# By the schema that is found: what makes it the next one.
_UPGRADES = {1: _SECOND, 2: _THIRD}
_SCHEMA = """
CREATE TABLE jobs (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE agents (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE placements (key TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('version', 0);
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, asked TEXT NOT NULL, answer TEXT NOT NULL
);
"""
_ENCODER = msgspec.json.Encoder(enc_hook=encode_hook)


class StoreError(Exception):
    """The store can't be used or written; the text says why, in one line, for the user."""


class Store:
    """The desired state, its version, and the answers to requests. Not thread-safe."""

    def __init__(self, directory: Path) -> None:
        """Open, or make, the store in this directory. Raises StoreError."""
        self.path = directory / FILE_NAME
        self._lock = _take_lock(directory / f"{FILE_NAME}.lock")
        try:
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=5)
            self._prepare()
        except sqlite3.Error as error:
            self.close()
            raise StoreError(
                f"the registry file {self.path} can't be used ({_line(error)}); {_REMEDY}"
            ) from None
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file and the lock."""
        if hasattr(self, "_connection"):
            self._connection.close()
        os.close(self._lock)

    def load(self) -> tuple[int, dict[Key, Any]]:
        """The version and the whole desired state. Raises StoreError."""
        state: dict[Key, Any] = {}
        for kind, (table, shape) in _TABLES.items():
            decoder = msgspec.json.Decoder(shape, dec_hook=decode_hook)
            for key, body in self._rows(f"SELECT key, body FROM {table}"):  # noqa: S608 - our names
                try:
                    state[kind, key] = decoder.decode(body)
                except msgspec.MsgspecError as error:
                    text = f"{self.path} has a broken row: {table} {key!r}: {error}; {_REMEDY}"
                    raise StoreError(text) from None
        ((version,),) = self._rows("SELECT value FROM meta WHERE name = 'version'")
        return version, state

    def answer(self, request_id: str) -> tuple[str, Answer] | None:
        """The fingerprint of what this request asked, and its answer, if it is known."""
        rows = self._rows("SELECT asked, answer FROM requests WHERE id = ?", request_id)
        return (rows[0][0], msgspec.json.decode(rows[0][1], type=Answer)) if rows else None

    def commit(
        self, version: int, changes: Mapping[Key, Any], answers: Mapping[str, tuple[str, Answer]]
    ) -> None:
        """Write all of it durably, or nothing; `answers` by request id, as `answer` returns them.

        Raises StoreError.
        """
        execute = self._connection.execute
        try:
            execute("BEGIN IMMEDIATE")
            for kind, (table, _) in _TABLES.items():
                gone = [(key[1],) for key, value in changes.items() if key[0] == kind and value is None]
                rows = [
                    (key[1], _ENCODER.encode(value).decode())
                    for key, value in changes.items()
                    if key[0] == kind and value is not None
                ]
                self._connection.executemany(f"DELETE FROM {table} WHERE key = ?", gone)  # noqa: S608 - our names
                self._connection.executemany(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", rows)  # noqa: S608
            self._write_answers(answers)
            execute("UPDATE meta SET value = ? WHERE name = 'version'", (version,))
            execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreError(f"the registry file {self.path} can't be written: {_line(error)}") from None
        finally:
            if self._connection.in_transaction:
                execute("ROLLBACK")

    def _rows(self, query: str, *values: str) -> list[Any]:
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(f"the registry file {self.path} can't be read: {_line(error)}") from None

    def _write_answers(self, answers: Mapping[str, tuple[str, Answer]]) -> None:
        rows = [(name, asked, _ENCODER.encode(answer).decode()) for name, (asked, answer) in answers.items()]
        if not rows:
            return
        self._connection.executemany("INSERT INTO requests (id, asked, answer) VALUES (?, ?, ?)", rows)
        self._connection.execute(
            "DELETE FROM requests WHERE number <= (SELECT max(number) FROM requests) - ?", (REQUESTS_KEPT,)
        )

    def _prepare(self) -> None:
        execute = self._connection.execute
        os.chmod(self.path, 0o600)  # noqa: PTH101 - jobs may hold secrets in their env
        (mode,) = execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(
                f"{self.path} is on a file system without SQLite's WAL mode; choose another --data"
            )
        execute("PRAGMA synchronous = FULL")
        (found,) = execute("PRAGMA user_version").fetchone()
        if found == 0:
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} {_SECOND} {_THIRD} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        while found in _UPGRADES:
            execute_all = self._connection.executescript
            execute_all(f"BEGIN; {_UPGRADES[found]} PRAGMA user_version = {found + 1}; COMMIT;")
            found += 1
        if found not in (0, SCHEMA_VERSION):
            raise StoreError(
                f"{self.path} has schema {found}; this program knows {SCHEMA_VERSION}: use a newer one"
            )
        (healthy,) = execute("PRAGMA quick_check(1)").fetchone()
        if healthy != "ok":
            raise sqlite3.DatabaseError(healthy)


def _line(error: sqlite3.Error) -> str:
    """What SQLite says, in one line; its check of a damaged file says it in several."""
    return " ".join(str(error).split())


def _take_lock(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"the data directory {path.parent} can't be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StoreError(f"another registry uses {path.parent}; one at a time") from None
    return descriptor
