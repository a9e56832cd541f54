"""What would happen if a job were put: found by letting the rules do it on a copy, without faults.

The registry's rule judges, the scheduler's rule places and migrates, and the agents of the copy do what
they are told in no time. So a plan can't differ from what the rules would do; it can only be overtaken.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Literal

import msgspec

from scheduling.actual import Actual
from scheduling.answer import Answer
from scheduling.desired import MIGRATION, Desired
from scheduling.differences import FieldChange, differences
from scheduling.job import JobKey, encode_hook, task_index
from scheduling.migrating import PutJob
from scheduling.placement import Algorithm
from scheduling.registry import judge
from scheduling.rehearsal import Rehearsal, in_strides
from scheduling.update import Limits
from scheduling.waiting import Waiting

TOKEN_DIGITS = 16


class TaskPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one task; `agent`: where it is started, stopped or left, None where it waits."""

    task: str
    action: Literal["start", "stop", "leave", "wait"]
    agent: str | None


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a PutJob would do. `version`: the registry's that it was made at; `expected`: the job's.

    `waiting`: why some tasks would find no place. `left_out`: with scale `all`, why agents would have none.
    `complete`: it looks ahead to the end of it all.
    """

    answer: Answer
    key: JobKey
    version: int
    expected: int
    fields: tuple[FieldChange, ...] = ()
    limits: Limits | None = None
    tasks: tuple[TaskPlan, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    left_out: tuple[Waiting, ...] = ()
    complete: bool = True

    @property
    def token(self) -> str:
        """What approves this plan and no other: the version it was made at, and a digest of what it does."""
        content = msgspec.json.encode(
            (self.answer.result, self.answer.hash, self.expected, self.fields, self.limits, self.tasks),
            enc_hook=encode_hook,
            order="sorted",
        )
        return f"{self.version}-{hashlib.sha256(content).hexdigest()[:TOKEN_DIGITS]}"

    @property
    def planned(self) -> dict[str, str]:
        """Index → agent of the tasks that it starts."""
        return {
            str(task_index(each.task)): each.agent
            for each in self.tasks
            if each.action == "start" and each.agent is not None
        }


def plan(
    mutation: PutJob, desired: Desired, actual: Actual, algorithm: Algorithm, version: int, now: float
) -> Plan:
    """What this PutJob would do to this state, which is left as it is. `now`: seconds since 1970."""
    key = mutation.config.key
    versions = desired.versions(key)
    answer, changes = judge(desired, mutation, version + 1, now=now)
    told = Plan(
        answer=answer,
        key=key,
        version=version,
        expected=max((job.version for job in versions), default=0),
    )
    if not changes:
        return told
    rehearsal = Rehearsal(key, desired, actual, algorithm, version, now)
    complete = rehearsal.run(changes)
    if not complete:
        # Too many small steps: the same in large ones, unless there is no room for those.
        strides = Rehearsal(key, desired, actual, algorithm, version, now)
        if strides.run(in_strides(changes)) and not strides.waiting():
            rehearsal, complete = strides, True
    begun = changes.get((MIGRATION, answer.migration))
    return msgspec.structs.replace(
        told,
        fields=tuple(differences(versions[-1].config if versions else None, mutation.config)),
        limits=begun.limits if begun is not None else None,
        tasks=tuple(_tasks(key, desired, rehearsal.desired)),
        waiting=rehearsal.waiting(),
        left_out=rehearsal.left_out(),
        complete=complete,
    )


def moved_since(desired: Desired, key: JobKey, version: int) -> Iterator[str]:
    """What was written since the registry was at this version and may have made another plan of one."""
    for job in desired.versions(key):
        if job.version > version:
            yield f"{key} was changed at version {job.version}, to {job.hash}"
    for agent in desired.agents.values():
        if agent.version > version:
            yield f"the agent {agent.name} was changed at version {agent.version}"
    for name in sorted(desired.by_agent):
        rows = [desired.placements[task] for task in desired.by_agent[name]]
        newer = [row.task for row in rows if row.generation > version]
        if newer:
            yield f"{len(newer)} placements on {name} were written, like {min(newer)}"


def _tasks(key: JobKey, before: Desired, after: Desired) -> Iterator[TaskPlan]:
    """Each task of the job that there is, or will be, oldest version first."""
    jobs = {job.prefix: job for desired in (before, after) for job in desired.versions(key)}
    for prefix in sorted(jobs, key=lambda name: (jobs[name].version, name)):
        now, then = before.by_prefix.get(prefix, set()), after.by_prefix.get(prefix, set())
        left = prefix in after.jobs
        wanted = {f"{prefix}-{index}" for index in after.indices(after.jobs[prefix])} if left else set()
        for task in sorted(now | then | wanted, key=task_index):
            was = before.placements[task].running if task in now else None
            will = after.placements[task].running if task in then else None
            if will is not None and will == was:
                yield TaskPlan(task=task, action="leave", agent=was)
                continue
            if was is not None:
                yield TaskPlan(task=task, action="stop", agent=was)
            if will is not None:
                yield TaskPlan(task=task, action="start", agent=will)
            elif task in wanted:
                yield TaskPlan(task=task, action="wait", agent=None)
