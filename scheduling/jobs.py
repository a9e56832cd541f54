"""What may be done to a job: scheduled, changed, stopped, started, unscheduled.

Part of the registry's rule, see `scheduling.registry`; what takes several steps is in
`scheduling.migrating`.
"""

from __future__ import annotations

import msgspec

from config.bounds import MOST_VERSIONS
from scheduling.answer import ANY, Answer
from scheduling.canonical import job_hash
from scheduling.dependencies import cycle
from scheduling.desired import HISTORY, JOB, Desired, Job
from scheduling.history import History, Past
from scheduling.job import JobConfig, JobKey
from scheduling.migration import State
from scheduling.replica import Changes


class ScheduleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Run this config as a version of its job; refused if that version is there already (v0).

    `adopt`: its tasks may run already, see `Job`.
    """

    config: JobConfig
    adopt: bool = False


class UnscheduleJob(msgspec.Struct, frozen=True, kw_only=True):
    """Stop the job version that this hash or task prefix names (v0)."""

    hash: str


class DeleteJob(msgspec.Struct, frozen=True, kw_only=True):
    """Stop all versions of a job, and forget it. `expected`: the job's version, 0 for none."""

    key: JobKey
    expected: int | None = None


class HaltJob(msgspec.Struct, frozen=True, kw_only=True):
    """Stop all tasks of a job without forgetting it, or start them again. `expected`: as in DeleteJob."""

    key: JobKey
    stopped: bool
    expected: int | None = None


def schedule(desired: Desired, mutation: ScheduleJob, version: int, now: float) -> tuple[Answer, Changes]:
    """A new version, beside those that are there."""
    config = mutation.config
    name = config.hash()
    there = desired.resolve(name)
    if there is not None:
        same = there.config.canonical() == config.canonical() or there.hash != name
        text = (
            f"{name} already scheduled"
            if same
            else f"the hash {name} belongs to another config; change any field"
        )
        return Answer(result="conflict", message=text, hash=name), {}
    if len(desired.jobs) >= MOST_VERSIONS:
        text = (
            f"there are {len(desired.jobs)} versions of jobs, as many as there may be; unschedule some first"
        )
        return Answer(result="conflict", message=text, hash=name), {}
    refused = _under_way(desired, config.key) or circular(desired, config)
    if refused is not None:
        return refused, {}
    history = recorded(desired, config, name, now)
    job = Job(
        prefix=name,
        hash=name,
        config=config,
        version=version,
        adopt=mutation.adopt,
        number=history.current,
    )
    text = f"request to schedule '{config.job}' ({name}) has been accepted"
    return Answer(result="created", message=text, hash=name), {
        (JOB, name): job,
        (HISTORY, str(config.key)): history,
    }


def unschedule(desired: Desired, mutation: UnscheduleJob, _version: int) -> tuple[Answer, Changes]:
    """One version goes; what remains of a migration is settled by the registry.

    While a job is restarted two versions have one hash, and both go.
    """
    job = desired.resolve(mutation.hash)
    if job is None:
        return Answer(result="not found", message=f"{mutation.hash} not scheduled", hash=mutation.hash), {}
    text = f"request to unschedule {job.config.job} ({job.hash}) has been accepted"
    named = [each for each in desired.versions(job.config.key) if each.hash == mutation.hash] or [job]
    return Answer(result="changed", message=text, hash=job.hash), {(JOB, each.prefix): None for each in named}


def delete(desired: Desired, mutation: DeleteJob, _version: int) -> tuple[Answer, Changes]:
    """All versions go."""
    versions = desired.versions(mutation.key)
    refused = precondition(versions, mutation.expected, mutation.key)
    if refused is not None:
        return refused, {}
    if not versions:
        return not_scheduled(mutation.key), {}
    text = f"{mutation.key} ({hashes(versions)}) is being stopped"
    return Answer(result="changed", message=text, hash=versions[-1].hash), {
        (JOB, job.prefix): None for job in versions
    }


def halt(desired: Desired, mutation: HaltJob, version: int) -> tuple[Answer, Changes]:
    """A job stopped without being forgotten, or started again."""
    versions = desired.versions(mutation.key)
    refused = precondition(versions, mutation.expected, mutation.key) or single(desired, mutation.key)
    if refused is not None:
        return refused, {}
    job = versions[0]
    word = "stopped" if mutation.stopped else "started"
    if job.stopped == mutation.stopped:
        return Answer(result="unchanged", message=f"{mutation.key} is {word} already", hash=job.hash), {}
    changed = msgspec.structs.replace(job, stopped=mutation.stopped, version=version)
    return Answer(result="changed", message=f"{mutation.key} is being {word}", hash=job.hash), {
        (JOB, job.prefix): changed
    }


def rescale(
    desired: Desired, job: Job, config: JobConfig, version: int, now: float
) -> tuple[Answer, Changes]:
    """A change of scale or policy alone keeps the version's tasks, and their names."""
    name = config.hash()
    owner = desired.resolve(name)
    if owner is not None and owner.prefix != job.prefix:
        text = f"the hash {name} belongs to {owner.config.key}"
        return Answer(result="conflict", message=text, hash=name), {}
    refused = circular(desired, config)
    if refused is not None:
        return refused, {}
    text = f"{config.key} has been rescaled from {job.config.scale} to {config.scale}"
    if config.scale == job.config.scale:
        text = f"the policy of {config.key} has been changed"
    history = recorded(desired, config, name, now)
    changed = msgspec.structs.replace(job, hash=name, config=config, version=version, number=history.current)
    return Answer(result="changed", message=text, hash=name), {
        (JOB, job.prefix): changed,
        (HISTORY, str(config.key)): history,
    }


def recorded(desired: Desired, config: JobConfig, name: str, now: float) -> History:
    """The history of a job with this config as its newest version; `name` is its hash, which costs more to
    find out than all the rest.
    """
    history = known_history(desired, config.key)
    return history.with_version(Past(number=history.next_number, hash=name, config=config, at=now))


def known_history(desired: Desired, key: JobKey) -> History:
    """The history of a job; one that was restored, or is older than histories, begins with what is there."""
    history = desired.history.get(str(key), History(current=0))
    if history.kept:
        return history
    for job in desired.versions(key):
        number = job.number if history.version(job.number) is None else history.next_number
        history = history.with_version(Past(number=number, hash=job.hash, config=job.config))
    return history


def fresh_prefix(desired: Desired, config: JobConfig) -> str:
    """What the tasks of a new version are called by: its hash, or where that is taken something like it."""
    name, tries = config.hash(), 0
    while name in desired.names or name in desired.by_prefix:
        tries += 1
        name = job_hash(config.job, config.canonical() + b"\n%d" % tries)
    return name


def circular(desired: Desired, config: JobConfig) -> Answer | None:
    """The refusal of a config whose dependencies would wait for each other."""
    path = cycle(desired, config)
    if not path:
        return None
    text = f"depends_on makes a circle: {' → '.join(map(str, path))}; each would wait for the other"
    return Answer(result="conflict", message=text)


def precondition(versions: list[Job], expected: int | None, key: JobKey) -> Answer | None:
    """The refusal where the job is not at the version that the request has seen."""
    at = max((job.version for job in versions), default=0)
    if expected is None or expected == at or (expected == ANY and at):
        return None
    if expected == ANY:
        return Answer(result="precondition failed", message=f"{key} is not scheduled, and was to be")
    text = (
        f"{key} is at version {at}, not {expected}; it runs {hashes(versions)} now"
        if at
        else f"{key} is not scheduled, not at version {expected}"
    )
    if expected == 0:
        text = f"{key} is scheduled already, as {hashes(versions)} at version {at}"
    return Answer(result="precondition failed", message=text)


def single(desired: Desired, key: JobKey) -> Answer | None:
    """The refusal where a job has not just one version, at rest."""
    versions = desired.versions(key)
    if not versions:
        return not_scheduled(key)
    under_way = _under_way(desired, key)
    if under_way is not None or len(versions) == 1:
        return under_way
    text = f"{key} has {len(versions)} versions, {hashes(versions)}; unschedule all but one first"
    return Answer(result="conflict", message=text)


def not_scheduled(key: JobKey) -> Answer:
    """There is no such job."""
    return Answer(result="not found", message=f"{key} is not scheduled")


def hashes(versions: list[Job]) -> str:
    """The hashes of some versions, in words."""
    return ", ".join(job.hash for job in versions)


def _under_way(desired: Desired, key: JobKey) -> Answer | None:
    migration = next(filter(None, (desired.migration_of(job.prefix) for job in desired.versions(key))), None)
    if migration is None:
        return None
    text = f"{key} is being migrated ({migration.id}); wait for it, or abort it first"
    if migration.state is State.REVERTING:
        text = f"{key} is being brought back to {migration.old_hash} ({migration.id}); wait for that"
    elif migration.state is State.FAILED:
        text = f"{key} is in a migration that has failed ({migration.id}); resume or abort it first"
    return Answer(result="conflict", message=text, migration=migration.id)
