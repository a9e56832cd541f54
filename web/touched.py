"""Which jobs, tasks and agents a change of the raw tables touches: what is shown joins several tables.

One function knows the joins, so that caches and event streams only hear of the things they show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from scheduling import actual as actual_tables
from scheduling import desired as desired_tables
from scheduling.actual import Actual
from scheduling.desired import Desired
from scheduling.job import JobKey, task_id, task_prefix
from scheduling.migration import Migration
from scheduling.replica import Key


class Touched(msgspec.Struct):
    """What may look different now. `hosts` are agents whose v0 state changed, samples included."""

    topics: set[str] = msgspec.field(default_factory=set)
    jobs: set[JobKey] = msgspec.field(default_factory=set)
    tasks: set[str] = msgspec.field(default_factory=set)
    agents: set[str] = msgspec.field(default_factory=set)
    hosts: set[str] = msgspec.field(default_factory=set)

    def add(self, other: Touched) -> None:
        """Take in what another change touches."""
        self.topics |= other.topics
        self.jobs |= other.jobs
        self.tasks |= other.tasks
        self.agents |= other.agents
        self.hosts |= other.hosts


class TasksOf:
    """Which tasks each job version has: those with a placement or a reported container, by prefix."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, set[str]] = {}

    def __getitem__(self, prefix: str) -> set[str]:
        return self._by_prefix.get(prefix, set())

    def update(self, tasks: set[str], desired: Desired, actual: Actual) -> None:
        """Look again at these tasks."""
        for task in tasks:
            prefix = task_prefix(task)
            if task in desired.placements or task in actual.by_task:
                self._by_prefix.setdefault(prefix, set()).add(task)
            elif prefix in self._by_prefix:
                self._by_prefix[prefix].discard(task)
                if not self._by_prefix[prefix]:
                    del self._by_prefix[prefix]


def touched_by(desired: Desired, actual: Actual, tasks_of: TasksOf, changes: Mapping[Key, Any]) -> Touched:
    """What the changed keys touch as the tables are: ask before and after taking the changes in."""
    touched = Touched()
    for key, value in changes.items():
        if key[0] == desired_tables.JOB:
            _job(desired, tasks_of, key[1], touched)
        elif key[0] == desired_tables.MIGRATION:
            _migration(desired, tasks_of, desired.migrations.get(key[1]), value, touched)
        elif key[0] == desired_tables.PLACEMENT:
            _placement(desired, key[1], touched)
        elif key[0] == actual_tables.CONTAINER:
            touched.agents.add(key[1])
            touched.hosts.add(key[1])
            _task(desired, key[2], touched)
        elif key[0] == actual_tables.METRICS:
            touched.hosts.add(key[1])
        elif key[0] == actual_tables.AGENT:  # of either table
            _agent(desired, actual, key[1], value, touched)
    return touched


def _task(desired: Desired, task: str, touched: Touched) -> None:
    touched.tasks.add(task)
    job = desired.jobs.get(task_prefix(task))
    if job is not None:
        touched.jobs.add(job.config.key)


def _job(desired: Desired, tasks_of: TasksOf, prefix: str, touched: Touched) -> None:
    job = desired.jobs.get(prefix)
    touched.tasks |= tasks_of[prefix]
    if job is not None:
        touched.jobs.add(job.config.key)
        touched.tasks |= {task_id(prefix, index) for index in job.members}


def _migration(
    desired: Desired, tasks_of: TasksOf, old: Migration | None, new: Migration | None, touched: Touched
) -> None:
    """A step changes the job, and the tasks that are wanted now and were not, or the other way round."""
    known = new or old
    if known is None:
        return
    touched.jobs.add(known.key)
    for prefix in (known.old, known.new):
        if old is None or new is None or old.over != new.over:
            _job(desired, tasks_of, prefix, touched)
        else:
            changed = set(old.wanted(prefix)) ^ set(new.wanted(prefix))
            touched.tasks |= {task_id(prefix, index) for index in changed}


def _placement(desired: Desired, task: str, touched: Touched) -> None:
    _task(desired, task, touched)
    placement = desired.placements.get(task)
    if placement is not None:
        # Whether a container is foreign, and so what its agent counts, follows from the placement.
        touched.agents |= {copy.agent for copy in placement.copies}


def _agent(desired: Desired, actual: Actual, name: str, value: Any, touched: Touched) -> None:
    """An agent's tasks look different only when its link or its address does."""
    touched.agents.add(name)
    touched.hosts.add(name)
    old = desired.agents.get(name)
    status = actual.agents.get(name)
    if isinstance(value, actual_tables.AgentStatus):
        seen = status and (status.link, status.answered, status.endpoint)
        same = seen == (value.link, value.answered, value.endpoint)
    else:
        same = isinstance(value, desired_tables.Agent) and old is not None and old.endpoint == value.endpoint
    if same:
        return
    for task in [*desired.by_agent.get(name, ()), *actual.containers.get(name, ())]:
        _task(desired, task, touched)
