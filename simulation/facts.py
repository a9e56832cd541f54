"""What an onlooker who sees everything knows, beyond what any actor does; the invariants are judged by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from scheduling.desired import JOB, PLACEMENT, Copy, Job, Placement
from scheduling.job import JobConfig, task_index, task_prefix
from scheduling.replica import Key
from simulation.agent import Agent
from simulation.disk import Disk
from simulation.stage import Backstage

# A published state is remembered for this many versions: nobody is that far behind.
VERSIONS_KEPT = 400


class Violation(msgspec.Struct, frozen=True):
    """An invariant does not hold: which, how it shows, and the tasks and agents it is about."""

    invariant: str
    text: str
    about: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class Facts:
    """The whole truth: the registry's disk, the agents' containers, and what was published when."""

    def __init__(self, disk: Disk, agents: dict[str, Agent]) -> None:
        self.disk = disk
        self.agents = agents
        # Every version of a job there ever was, by prefix.
        self.configs: dict[str, JobConfig] = {}
        # Every (task, agent) that ever had a placement.
        self.placed: set[tuple[str, str]] = set()
        self.versions: dict[str, dict[int, dict[Key, Any]]] = {}

    def committed(self, changes: Mapping[Key, Any]) -> None:
        """Take note of a commit."""
        for key, value in changes.items():
            if key[0] == JOB and value is not None:
                self.configs[key[1]] = value.config
            elif key[0] == PLACEMENT:
                self.placed.update((key[1], copy.agent) for copy in (value.copies if value else ()))

    def published(self, actor: Backstage) -> None:
        """Take note of what an actor publishes, after each of its steps."""
        publisher = actor.performer.publisher
        versions = self.versions.setdefault(publisher.epoch, {})
        if publisher.version not in versions:
            versions[publisher.version] = dict(publisher.state)
            if len(versions) > VERSIONS_KEPT:
                del versions[next(iter(versions))]

    def job_of(self, task: str) -> Job | None:
        """The job version of a task, if it is wanted."""
        job = self.disk.state.get((JOB, task_prefix(task)))
        if isinstance(job, Job) and 0 <= task_index(task) < job.config.scale:
            return job
        return None

    def row(self, task: str) -> Placement | None:
        """The task's placement on the disk."""
        placement = self.disk.state.get((PLACEMENT, task))
        return placement if isinstance(placement, Placement) else None

    def copy(self, task: str, agent: str) -> Copy | None:
        """The task's copy on one agent, on the disk."""
        row = self.row(task)
        return next((copy for copy in row.copies if copy.agent == agent), None) if row else None

    def wanted(self) -> list[str]:
        """The tasks that should run."""
        return [
            f"{job.prefix}-{index}"
            for key, job in self.disk.state.items()
            if key[0] == JOB
            for index in range(job.config.scale)
        ]
