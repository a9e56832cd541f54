"""Which jobs wait for which: `depends_on` names jobs that must run, and be healthy where they have health
checks, before a job starts. What was meant to end and has ended well has done what it is depended on for."""

from __future__ import annotations

from collections.abc import Iterator

from scheduling.actual import Actual, ContainerReport
from scheduling.desired import Desired, Job
from scheduling.job import JobConfig, JobKey, task_id
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.standing import ended_well


def dependencies(config: JobConfig) -> list[JobKey]:
    """The jobs that a config depends on; a bare name is one of the same product and environment."""
    return [_key(name, config) for name in config.depends_on or ()]


def cycle(desired: Desired, config: JobConfig) -> list[JobKey]:
    """The way from a job through its dependencies back to itself, if there is one with this config."""
    ways: list[list[JobKey]] = [[config.key, key] for key in dependencies(config)]
    seen: set[JobKey] = set()
    while ways:
        way = ways.pop()
        if way[-1] == config.key:
            return way
        if way[-1] in seen:
            continue
        seen.add(way[-1])
        for job in desired.versions(way[-1]):
            ways.extend([*way, key] for key in dependencies(job.config))
    return []


def unmet(job: Job, desired: Desired, actual: Actual) -> Iterator[str]:
    """What a job that has not begun yet still waits for, in words; nothing once it has begun.

    A new version waits for what it depends on as a new job does; one that is being left has begun.
    """
    if not job.config.depends_on or desired.by_prefix.get(job.prefix):
        return
    migration = desired.migration_of(job.prefix)
    if migration is not None and migration.old == job.prefix:
        return
    for key in dependencies(job.config):
        versions = [each for each in desired.versions(key) if desired.indices(each)]
        if not versions:
            there = desired.versions(key)
            word = "is stopped" if all(job.stopped for job in there) else "fits no agent"
            yield f"{key} {word}" if there else f"{key} is not scheduled"
            continue
        wanted = [task_id(each.prefix, index) for each in versions for index in desired.indices(each)]
        running = [report for task in wanted if (report := _running(task, desired, actual)) is not None]
        well = sum(report.instance is None or report.instance.well for report in running)
        if len(running) < len(wanted):
            yield f"{key} runs {len(running)} of {len(wanted)} tasks"
        elif well < len(wanted):
            yield f"{key} has {well} of {len(wanted)} tasks healthy"


def _running(task: str, desired: Desired, actual: Actual) -> ContainerReport | None:
    """The report of a task that is proven to run, or to have ended as it was meant to."""
    row = desired.placements.get(task)
    agent = row.running if row is not None else None
    report = actual.report(agent, task) if agent is not None else None
    if agent is None or report is None or not (report.phase is Phase.RUNNING or ended_well(report)):
        return None
    return report if is_connected(actual, agent) else None


def _key(name: str, config: JobConfig) -> JobKey:
    parts = name.split("/")
    return JobKey(*parts) if len(parts) == 3 else JobKey(config.product, config.environment, name)
