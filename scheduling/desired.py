"""The desired state: jobs, agents and placements, as the registry keeps them and others follow them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from scheduling.history import History
from scheduling.job import JobConfig, JobKey, task_index, task_prefix
from scheduling.migration import Migration
from scheduling.moves import Rebalance
from scheduling.replica import Key

Intent = Literal["run", "stop"]
JOB, AGENT, PLACEMENT, FLEET = "job", "agent", "placement", "fleet"
MIGRATION, HISTORY, REBALANCE = "migration", "history", "rebalance"
# The key of kind FLEET under which a release of the brake is written.
RELEASE = "brake_release"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a job.

    `prefix` begins its task ids and never changes; `hash` is that of the current config. They differ
    after a change of scale alone, which keeps the tasks. `version` is the registry's at the last change.
    `adopt`: its tasks may run already on any agent (it was imported or restored), so none is placed before
    all answered. `number` counts the configs a job has had, from 1. `stopped`: kept, but none of its tasks
    is wanted. `planned`: index → agent, where an approved plan has put its tasks; they go there if they
    still fit. `places`: index → agent of a job with scale `all`: these are its tasks, and they run nowhere
    else; None as long as the scheduler has not said which agents fit.
    """

    prefix: str
    hash: str
    config: JobConfig
    version: int
    adopt: bool = False
    number: int = 1
    stopped: bool = False
    planned: dict[str, str] = {}
    places: dict[int, str] | None = None

    @property
    def members(self) -> Collection[int]:
        """All tasks that it has, by index, ascending; which of them are wanted now says `Desired.indices`."""
        scale = self.config.scale
        return range(scale) if isinstance(scale, int) else (self.places or {}).keys()


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """An agent is being emptied, since then and by then at the latest; seconds since 1970."""

    since: float
    deadline_at: float | None


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that should be followed. `sources` say who wants it; without any it goes once it is empty.

    `lost_since`: it is lost, and away since then (seconds since 1970). `declared_lost`: by its operator.
    `drained`: it gets no new tasks; `drain`: and those it has are moved. `identity`: of the data directory
    of one that has registered itself.
    """

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    sources: tuple[str, ...] = ()
    drained: bool = False
    drain: Drain | None = None
    lost_since: float | None = None
    version: int = 0
    declared_lost: bool = False
    identity: str = ""


class BrakeRelease(msgspec.Struct, frozen=True, kw_only=True):
    """An operator has released the brake for the present outage; `version`: the registry's at that time."""

    version: int


class Copy(msgspec.Struct, frozen=True):
    """One copy of a task on one agent: it is meant to run there, or to be stopped there."""

    agent: str
    intent: Intent


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task is meant to be: at most one copy with intent run, any number to be stopped.

    A copy leaves only on proof that its container is absent. `generation` is the registry's version at
    the last write; writers must name the one they have seen.
    """

    task: str
    generation: int
    copies: tuple[Copy, ...]

    @property
    def running(self) -> str | None:
        """The agent where the task is meant to run."""
        return next((copy.agent for copy in self.copies if copy.intent == "run"), None)


class Desired:
    """The desired state as typed tables, with the indices that readers need."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.agents: dict[str, Agent] = {}
        self.placements: dict[str, Placement] = {}
        self.names: dict[str, str] = {}
        self.migrations: dict[str, Migration] = {}
        self.history: dict[str, History] = {}
        self.by_key: dict[JobKey, set[str]] = {}
        self.by_agent: dict[str, set[str]] = {}
        # The tasks of each version that have a row, and by either version the migration under way.
        self.by_prefix: dict[str, set[str]] = {}
        self.migrating: dict[str, str] = {}
        self.brake_release: BrakeRelease | None = None
        # The one under way, or the last one.
        self.rebalance: Rebalance | None = None

    def copy(self) -> Desired:
        """Another one in the same state, to try something on."""
        other = Desired()
        for name, table in self.__dict__.items():
            setattr(other, name, _copied(table))
        return other

    def apply(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes, as a replica returns them."""
        for key, value in changes.items():
            if key[0] == JOB:
                self._apply_job(key[1], value)
            elif key[0] == AGENT:
                _set(self.agents, key[1], value)
            elif key[0] == PLACEMENT:
                self._apply_placement(key[1], value)
            elif key[0] == MIGRATION:
                self._apply_migration(key[1], value)
            elif key[0] == HISTORY:
                _set(self.history, key[1], value)
            elif key == (FLEET, RELEASE):
                self.brake_release = value
            elif key[0] == REBALANCE:
                self.rebalance = value

    @property
    def under_way(self) -> Rebalance | None:
        """The rebalance under way."""
        return self.rebalance if self.rebalance is not None and not self.rebalance.over else None

    def resolve(self, name: str) -> Job | None:
        """The job version that a hash or a task prefix names."""
        prefix = self.names.get(name)
        return self.jobs[prefix] if prefix is not None else None

    def versions(self, key: JobKey) -> list[Job]:
        """All versions of a job, oldest first: none, one, or two while one replaces the other.

        Those that were restored together are equally old, and come by their prefix.
        """
        versions = [self.jobs[prefix] for prefix in self.by_key.get(key, ())]
        return sorted(versions, key=lambda job: (job.version, job.prefix))

    def migration_of(self, prefix: str) -> Migration | None:
        """The migration under way that a version is part of."""
        name = self.migrating.get(prefix)
        return self.migrations[name] if name is not None else None

    def indices(self, job: Job) -> Collection[int]:
        """Which tasks of a version are wanted now, ascending."""
        if job.stopped:
            return ()
        migration = self.migration_of(job.prefix)
        return migration.wanted(job.prefix) if migration is not None else job.members

    def wanted(self, task: str) -> bool:
        """Whether a task is meant to run."""
        job = self.jobs.get(task_prefix(task))
        return job is not None and task_index(task) in self.indices(job)

    def _apply_migration(self, name: str, migration: Migration | None) -> None:
        old = self.migrations.get(name)
        for prefix in (old.old, old.new) if old is not None else ():
            if self.migrating.get(prefix) == name:
                del self.migrating[prefix]
        _set(self.migrations, name, migration)
        if migration is not None and not migration.over:
            self.migrating[migration.old] = self.migrating[migration.new] = name

    def _apply_job(self, prefix: str, job: Job | None) -> None:
        old = self.jobs.get(prefix)
        if old is not None:
            _discard(self.by_key, old.config.key, prefix)
        _set(self.jobs, prefix, job)
        if job is not None:
            self.by_key.setdefault(job.config.key, set()).add(prefix)
        for version in filter(None, (old, job)):
            self._name(version.prefix, version.config.key)
            self._name(version.hash, version.config.key)

    def _name(self, name: str, key: JobKey) -> None:
        """A name that two versions have, while one is restarted as the other, is the newer one's.

        Also in the middle of an update in which a name passes on, in whatever order its changes come.
        """
        known = {*self.by_key.get(key, ()), self.names.pop(name, "")} & self.jobs.keys()
        named = [job for job in map(self.jobs.__getitem__, known) if name in (job.prefix, job.hash)]
        if named:
            self.names[name] = max(named, key=lambda job: (job.version, job.prefix)).prefix

    def _apply_placement(self, task: str, placement: Placement | None) -> None:
        old = self.placements.get(task)
        for copy in old.copies if old else ():
            _discard(self.by_agent, copy.agent, task)
        _set(self.placements, task, placement)
        for copy in placement.copies if placement else ():
            self.by_agent.setdefault(copy.agent, set()).add(task)
        if placement is not None:
            self.by_prefix.setdefault(task_prefix(task), set()).add(task)
        else:
            _discard(self.by_prefix, task_prefix(task), task)


def _copied(table: Any) -> Any:
    """A table or an index of its own, with the same immutable values."""
    if not isinstance(table, dict):
        return table
    return {key: set(value) if isinstance(value, set) else value for key, value in table.items()}


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


def _discard(index: dict[Any, set[str]], key: Any, member: str) -> None:
    members = index.get(key)
    if members is not None:
        members.discard(member)
        if not members:
            del index[key]


def parse_endpoint(text: str) -> str:
    """`HOST:PORT` or `http://HOST:PORT` as a URL without a trailing slash.

    Raises ValueError that names the text and what would be right.
    """
    complaint = f'"{text}" is no agent address; write HOST:PORT or http://HOST:PORT'
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
        (parts.hostname or "").encode("idna")
    except ValueError:
        raise ValueError(complaint) from None
    right = parts.scheme == "http" and parts.hostname and port and parts.path in ("", "/")
    if not right or parts.query or parts.fragment or parts.username or not text.isprintable() or " " in text:
        raise ValueError(complaint)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if host == "localhost":
        host = "127.0.0.1"  # one agent, one address
    return f"http://{host}:{port}"
