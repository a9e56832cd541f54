"""The desired state: jobs, agents and placements, as the registry keeps them and others follow them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from scheduling.job import JobConfig, JobKey
from scheduling.replica import Key

Intent = Literal["run", "stop"]
JOB, AGENT, PLACEMENT = "job", "agent", "placement"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a job.

    `prefix` begins its task ids and never changes; `hash` is that of the current config. They differ
    after a change of scale alone, which keeps the tasks. `version` is the registry's at the last change.
    `adopt`: its tasks may run already on any agent (it was imported or restored), so none is placed before
    all answered.
    """

    prefix: str
    hash: str
    config: JobConfig
    version: int
    adopt: bool = False


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent that should be followed. `sources` say who wants it; without any it goes once it is empty."""

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    sources: tuple[str, ...] = ()
    drained: bool = False
    lost_since: float | None = None
    version: int = 0


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
        self.by_key: dict[JobKey, set[str]] = {}
        self.by_agent: dict[str, set[str]] = {}

    def apply(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes, as a replica returns them."""
        for key, value in changes.items():
            if key[0] == JOB:
                self._apply_job(key[1], value)
            elif key[0] == AGENT:
                _set(self.agents, key[1], value)
            elif key[0] == PLACEMENT:
                self._apply_placement(key[1], value)

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

    def _apply_job(self, prefix: str, job: Job | None) -> None:
        old = self.jobs.get(prefix)
        if old is not None:
            # In one update a name may have passed on to another version already.
            for name in {old.prefix, old.hash}:
                if self.names.get(name) == prefix:
                    del self.names[name]
            _discard(self.by_key, old.config.key, prefix)
        _set(self.jobs, prefix, job)
        if job is not None:
            self.names[job.prefix] = self.names[job.hash] = prefix
            self.by_key.setdefault(job.config.key, set()).add(prefix)

    def _apply_placement(self, task: str, placement: Placement | None) -> None:
        old = self.placements.get(task)
        for copy in old.copies if old else ():
            _discard(self.by_agent, copy.agent, task)
        _set(self.placements, task, placement)
        for copy in placement.copies if placement else ():
            self.by_agent.setdefault(copy.agent, set()).add(task)


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
