"""What may run where nobody has looked yet: copies of a job that goes before it was adopted.

Part of the registry's rule, see `scheduling.registry`. Of a job that is to be adopted (it was imported or
restored) tasks may run on any agent. When such a task is not wanted any more before it has a placement, it
gets one with intent stop on every agent that may hold it: so it is stopped where it is found, it keeps its
successor of the same name waiting, and the placement goes when each of these agents has proven that there is
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scheduling.desired import JOB, MIGRATION, PLACEMENT, Copy, Desired, Placement
from scheduling.job import task_id
from scheduling.replica import Changes


def unheard(desired: Desired, changes: Changes, version: int) -> Changes:
    """The placements to write along with these changes of jobs, which `desired` does not have yet.

    Agents that are lost are left out: nobody knows whether they ever answer.
    """
    tasks = [
        task
        for prefix in _touched(changes)
        for task in _dropped(desired, changes, prefix)
        if task not in desired.placements
    ]
    if not tasks:
        return {}  # as for nearly every write: nobody needs to look at all agents
    copies = tuple(
        Copy(name, "stop") for name, agent in sorted(desired.agents.items()) if agent.lost_since is None
    )
    if not copies:
        return {}
    return {(PLACEMENT, task): Placement(task=task, generation=version, copies=copies) for task in tasks}


def _touched(changes: Changes) -> list[str]:
    """The versions whose wanted tasks may be others now."""
    jobs = [key[1] for key in changes if key[0] == JOB]
    migrations = [row for key, row in changes.items() if key[0] == MIGRATION and row is not None]
    return sorted({*jobs, *(prefix for row in migrations for prefix in (row.old, row.new))})


def _dropped(desired: Desired, changes: Changes, prefix: str) -> Iterator[str]:
    """The tasks of a version to be adopted that are not wanted any more."""
    old = desired.jobs.get(prefix)
    if old is not None and old.adopt:
        kept = set(_indices(desired, changes, prefix))
        yield from (task_id(prefix, index) for index in desired.indices(old) if index not in kept)


def _indices(desired: Desired, changes: Changes, prefix: str) -> Iterable[int]:
    """The tasks of a version that are wanted after these changes, by index."""
    job = changes.get((JOB, prefix), desired.jobs.get(prefix))
    if job is None or job.stopped:
        return ()
    rows = [row for key, row in changes.items() if key[0] == MIGRATION and row is not None]
    migration = next((row for row in rows if prefix in (row.old, row.new)), desired.migration_of(prefix))
    return job.members if migration is None or migration.over else migration.wanted(prefix)
