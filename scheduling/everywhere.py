"""Scale `all`: one task on each agent that fits. Which agents these are, and the index that each has.

The scheduler knows what agents have and say of themselves; it writes the agents that fit into the job. From
then on they are what a scale is to other jobs: the tasks that are wanted, the size of a migration. A task
belongs to one agent and never moves: where its agent is full it waits, where its agent is lost it stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from scheduling.actual import Actual
from scheduling.answer import Answer
from scheduling.desired import JOB, MIGRATION, Agent, Desired, Job
from scheduling.job import task_id, task_prefix
from scheduling.lost import is_connected
from scheduling.placement import explain, suits
from scheduling.replica import Changes
from scheduling.room import Room, need_of_job
from scheduling.update import limits_for
from scheduling.waiting import Waiting


class WritePlaces(msgspec.Struct, frozen=True, kw_only=True):
    """From the scheduler: these agents, and no others, have a task of this version, which has scale `all`.

    `expected`: the agents that had one when it decided this, by index; None for not said yet.
    """

    prefix: str
    agents: tuple[str, ...]
    expected: tuple[str, ...] | None


def fitting(job: Job, desired: Desired, actual: Actual, rooms: Iterable[Room], now: float) -> tuple[str, ...]:
    """The agents that have a task of this version, sorted. `now`: seconds since 1970.

    What can't be seen now changes nothing: an agent that is away, lost, cordoned or being removed keeps what
    it has, and gets nothing new. One that is drained loses its task when only such tasks are left there, so
    that what watches over others goes last, or when its time is over.
    """
    need = need_of_job(job)
    found = []
    for room in rooms:
        agent = desired.agents[room.agent]
        if agent.drain is not None:
            fits = _has_it(job, agent, desired) and not _is_left_alone(agent, desired, now)
        elif agent.drained or not agent.sources or agent.lost_since or not is_connected(actual, agent.name):
            fits = _has_it(job, agent, desired) or _may_have_it(job, agent, actual)
        else:
            fits = suits(need, room)
        if fits:
            found.append(agent.name)
    return tuple(sorted(found))


def left_out(job: Job, agents: Collection[str], rooms: Collection[Room]) -> Waiting | None:
    """Why the agents other than these have no task of this version, the nearest miss first; None: all have.

    Each is judged as if nothing else were there, as by `fitting`: one that is only full now has a task, which
    waits.
    """
    others = [
        msgspec.structs.replace(room, mem_used=0, cpu_used=0.0, ports={}, prefixes={})
        for room in rooms
        if room.agent not in agents
    ]
    if rooms and not others:
        return None
    some = f"{len(others)} of {len(rooms)} agents {'does' if len(others) == 1 else 'do'} not fit"
    what = some if agents else "no agent fits"
    return explain(job.prefix, 0, need_of_job(job), others, what)


def write_places(desired: Desired, mutation: WritePlaces, version: int) -> tuple[Answer, Changes]:
    """Each agent keeps its index, or has that of the other version of the job, or gets the lowest free one.

    An index is free once nothing of its task is left anywhere. A migration under way goes on with the tasks
    that there are now.
    """
    job = desired.jobs.get(mutation.prefix)
    if job is None or not job.config.everywhere or named(job) != mutation.expected:
        text = f"the places of {mutation.prefix} are others than was thought"
        return Answer(result="conflict", message=text), {}
    kept = {name: index for index, name in (job.places or {}).items()}
    hints = {
        name: index
        for version_of in desired.versions(job.config.key)
        for index, name in (version_of.places or {}).items()
    }
    indices = {name: kept[name] for name in mutation.agents if name in kept}
    taken = {*kept.values()}
    lowest = 0
    for name in (name for name in mutation.agents if name not in kept):
        index = hints.get(name, -1)
        if index < 0 or not _is_free(desired, job, index, taken):
            while not _is_free(desired, job, lowest, taken):
                lowest += 1
            index = lowest
        indices[name] = index
        taken.add(index)
    places = {index: name for name, index in sorted(indices.items(), key=lambda pair: pair[1])}
    changed = msgspec.structs.replace(job, places=places)
    text = f"{job.config.key} has a task on {len(places)} agents"
    return Answer(result="changed", message=text, hash=job.hash), {
        (JOB, job.prefix): changed,
        **_resized(desired, changed, version),
    }


def named(job: Job) -> tuple[str, ...] | None:
    """The agents that have a task of this version, by index; None as long as nobody has said so."""
    return tuple(job.places.values()) if job.places is not None else None


def _resized(desired: Desired, job: Job, version: int) -> Changes:
    """The migration that a version is part of, with as many tasks as the version has now."""
    row = desired.migration_of(job.prefix)
    if row is None:
        return {}
    is_old = row.old == job.prefix
    old_scale = len(job.members) if is_old else row.old_scale
    new_scale = row.new_scale if is_old else len(job.members)
    wanted = tuple(index for index in row.wanted(job.prefix) if index in job.members)
    resized = msgspec.structs.replace(
        row,
        old_scale=old_scale,
        new_scale=new_scale,
        limits=limits_for(row.limits, (row.old_scale, row.new_scale), (old_scale, new_scale)),
        old_wanted=wanted if is_old else row.old_wanted,
        new_wanted=row.new_wanted if is_old else wanted,
        generation=version,
    )
    return {(MIGRATION, row.id): resized}


def _is_free(desired: Desired, job: Job, index: int, taken: set[int]) -> bool:
    return index not in taken and task_id(job.prefix, index) not in desired.placements


def _has_it(job: Job, agent: Agent, desired: Desired) -> bool:
    """Whether a task of this version is placed there, as its place says."""
    rows = desired.by_agent.get(agent.name, set()) & desired.by_prefix.get(job.prefix, set())
    own = {task_id(job.prefix, index) for index, name in (job.places or {}).items() if name == agent.name}
    return not rows.isdisjoint(own)


def _may_have_it(job: Job, agent: Agent, actual: Actual) -> bool:
    """Whether a task of a restored version may run there, where nobody has looked yet."""
    there = job.adopt and agent.name in (job.places or {}).values()
    return there and agent.lost_since is None and not actual.answered(agent.name)


def _is_left_alone(agent: Agent, desired: Desired, now: float) -> bool:
    """Whether a drained agent has nothing else to lose, or its time is over."""
    at = agent.drain.deadline_at if agent.drain is not None else None
    owners = (desired.jobs.get(task_prefix(task)) for task in desired.by_agent.get(agent.name, ()))
    others = any(owner is None or not owner.config.everywhere for owner in owners)
    return not others or (at is not None and now >= at)


def members_there(job: Job, desired: Desired) -> frozenset[int] | None:
    """The tasks by which a migration of this version is complete: those on agents that are not lost.

    None where it is the whole scale.
    """
    if not job.config.everywhere:
        return None
    agents: Mapping[str, Agent] = desired.agents
    return frozenset(
        index
        for index, name in (job.places or {}).items()
        if name in agents and agents[name].lost_since is None
    )
