"""What an onlooker who sees everything knows, beyond what any actor does; the invariants are judged by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from scheduling.desired import AGENT, JOB, PLACEMENT, Agent, Copy, Desired, Job, Placement
from scheduling.job import JobConfig, task_prefix
from scheduling.replica import Key
from simulation.agent import Agent as Host
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

    def __init__(self, disk: Disk, agents: dict[str, Host]) -> None:
        self.disk = disk
        self.agents = agents
        # Every version of a job there ever was, by prefix.
        self.configs: dict[str, JobConfig] = {}
        # Every (task, agent) that ever had a placement.
        self.placed: set[tuple[str, str]] = set()
        # And those that were meant to run there, since they were last proven absent.
        self.meant: set[tuple[str, str]] = set()
        # By (task, agent): who was lost, as far as the transformer knew, when it commanded the task there.
        self.lost_then: dict[tuple[str, str], set[str]] = {}
        # The registry's version at which an agent was last lost and wanted by nobody.
        self.given_up: dict[str, int] = {}
        # Every (task, agent) whose copy has left its placement on such an agent: without proof, that is.
        self.abandoned: set[tuple[str, str]] = set()
        # And those that have had a placement again since.
        self.once_abandoned: set[tuple[str, str]] = set()
        self.versions: dict[str, dict[int, dict[Key, Any]]] = {}
        # Every (task, agent) of a job that was to be adopted and has gone: with an agent that had to be heard
        # before, and with one that was not known, or lost.
        self.unheard: set[tuple[str, str]] = set()
        self.unknowable: set[tuple[str, str]] = set()
        # The desired state as it is on disk, with its indices.
        self.desired = Desired()
        self.desired.apply(disk.state)

    def committed(self, changes: Mapping[Key, Any]) -> None:
        """Take note of a commit."""
        for key, value in changes.items():
            if key[0] == JOB:
                self._goes(self.desired.jobs.get(key[1]), value)
            if key[0] == AGENT and value is not None and value.lost_since is not None and not value.sources:
                self.given_up[key[1]] = self.disk.version
            if key[0] == JOB and value is not None:
                self.configs[key[1]] = value.config
            elif key[0] == PLACEMENT:
                self._moves(self.desired.placements.get(key[1]), value)
        self.desired.apply(changes)

    def _moves(self, old: Placement | None, new: Placement | None) -> None:
        now = {(new.task, copy.agent) for copy in new.copies} if new is not None else set()
        left = {(old.task, copy.agent) for copy in old.copies} - now if old is not None else set()
        self.abandoned.update(each for each in left if each[1] in self.given_up)
        self.once_abandoned |= self.abandoned
        self.abandoned -= now
        self.placed |= now
        self.meant -= left
        if new is not None and new.running is not None:
            self.meant.add((new.task, new.running))

    def _goes(self, old: Job | None, new: Job | None) -> None:
        """A job to be adopted goes or is stopped, or some of its tasks are; nobody may have looked yet where
        they run. Whoever was not known when a task went is not asked later."""
        kept = set(new.members) if new is not None and not new.stopped else set()
        if old is not None and old.adopt:
            for name in self.agents:
                known = self.disk.state.get((AGENT, name))
                heard = isinstance(known, Agent) and known.lost_since is None
                tasks = {(f"{old.prefix}-{index}", name) for index in set(old.members) - kept}
                if heard:
                    self.unheard |= tasks - self.unknowable
                else:
                    self.unknowable |= tasks

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
        return self.desired.jobs[task_prefix(task)] if self.desired.wanted(task) else None

    def row(self, task: str) -> Placement | None:
        """The task's placement on the disk."""
        placement = self.disk.state.get((PLACEMENT, task))
        return placement if isinstance(placement, Placement) else None

    def copy(self, task: str, agent: str) -> Copy | None:
        """The task's copy on one agent, on the disk."""
        row = self.row(task)
        return next((copy for copy in row.copies if copy.agent == agent), None) if row else None

    def is_lost(self, agent: str) -> bool:
        """Whether an agent is written down as lost."""
        known = self.desired.agents.get(agent)
        return known is not None and known.lost_since is not None

    def has_others(self, agent: str) -> bool:
        """Whether an agent has tasks of jobs that are not everywhere."""
        owners = [self.desired.jobs.get(task_prefix(task)) for task in self.desired.by_agent.get(agent, ())]
        return any(job is None or not job.config.everywhere for job in owners)

    def wanted(self) -> list[str]:
        """The tasks that should run."""
        return [
            f"{job.prefix}-{index}"
            for job in self.desired.jobs.values()
            for index in self.desired.indices(job)
        ]
