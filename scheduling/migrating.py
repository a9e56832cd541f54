"""What may be done about migrations: begin one, steer it, take its next step.

Part of the registry's rule, see `scheduling.registry`. How a migration goes on is `scheduling.migration`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from config.bounds import ENDED_KEPT
from scheduling import migration as way
from scheduling.answer import ANY, Answer
from scheduling.desired import HISTORY, JOB, MIGRATION, Desired, Job
from scheduling.job import JobConfig, JobKey, decode_hook, encode_hook
from scheduling.jobs import (
    ScheduleJob,
    circular,
    fresh_prefix,
    known_history,
    precondition,
    recorded,
    rescale,
    schedule,
    single,
)
from scheduling.migration import Input, Migration, State
from scheduling.replica import Changes
from scheduling.update import UnworkableError, Update, limits

Action = Literal["pause", "resume", "abort", "promote"]


class PutJob(msgspec.Struct, frozen=True, kw_only=True):
    """Make this config the job's only version; idempotent. `expected`: the job's version, 0 for none.

    Another config than the present one begins a migration, by the job's own policy or by `update`.
    `old`: the version to be replaced, by hash or prefix, where the job must be there already. `planned`:
    where an approved plan puts its tasks, see `Job`; `approved`: the token of that plan.
    """

    config: JobConfig
    expected: int | None = None
    update: Update | None = None
    old: str = ""
    planned: dict[str, str] = {}
    approved: str = ""


class RevertJob(msgspec.Struct, frozen=True, kw_only=True):
    """Migrate a job back to an earlier version; None: to the last one that was not given up.

    `override`: fields of an update policy as JSON, over those of the policy that this version has.
    """

    key: JobKey
    number: int | None = None
    expected: int | None = None
    update: Update | None = None
    override: dict[str, Any] | None = None


class RestartJob(msgspec.Struct, frozen=True, kw_only=True):
    """Replace all tasks of a job by new ones of the same config, by its policy or by `update`.

    `override`: as in RevertJob.
    """

    key: JobKey
    expected: int | None = None
    update: Update | None = None
    override: dict[str, Any] | None = None


class SteerMigration(msgspec.Struct, frozen=True, kw_only=True):
    """Pause, resume, abort or promote a migration. `expected`: its generation."""

    id: str
    action: Action
    expected: int | None = None


class StepMigration(msgspec.Struct, frozen=True, kw_only=True):
    """From the scheduler: the next row of a migration, if its generation is still `expected`."""

    migration: Migration
    expected: int


def put(desired: Desired, mutation: PutJob, version: int, now: float) -> tuple[Answer, Changes]:
    """Create, leave, rescale or migrate: whatever brings the job to this config."""
    config = mutation.config
    versions = desired.versions(config.key)
    refused = precondition(versions, mutation.expected, config.key)
    if refused is not None:
        return refused, {}
    if mutation.old and mutation.old not in {name for job in versions for name in (job.hash, job.prefix)}:
        return _not_replaceable(desired, mutation), {}
    if not versions:
        answer, changes = schedule(desired, ScheduleJob(config=config), version, now)
        return answer, _with_plan(changes, mutation.planned)
    job, name = versions[-1], config.hash()
    under_way = desired.migration_of(job.prefix)
    settled_on = len(versions) == 1 or (under_way is not None and under_way.state is State.RUNNING)
    if config == job.config and name == job.hash and settled_on:
        text = f"{config.key} is {name} already; nothing changes"
        return Answer(result="unchanged", message=text, hash=name), {}
    refused = single(desired, config.key)
    if refused is not None:
        return refused, {}
    if config.runs_as(job.config):
        answer, changes = rescale(desired, job, config, version, now)
    else:
        answer, changes = begin(desired, job, config, mutation.update, version, now)
    return answer, _with_plan(changes, mutation.planned)


def revert(desired: Desired, mutation: RevertJob, version: int, now: float) -> tuple[Answer, Changes]:
    """A migration to an earlier version."""
    versions = desired.versions(mutation.key)
    refused = precondition(versions, mutation.expected, mutation.key) or single(desired, mutation.key)
    if refused is not None:
        return refused, {}
    history = known_history(desired, mutation.key)
    past = history.before() if mutation.number is None else history.version(mutation.number)
    if past is None:
        kept = ", ".join(str(each.number) for each in history.kept)
        wanted = "no earlier version" if mutation.number is None else f"no version {mutation.number}"
        text = f"{mutation.key} has {wanted} to go back to; there are {kept}"
        return Answer(result="not found", message=text), {}
    update = _overridden(past.config, mutation.override) or mutation.update
    again = PutJob(config=past.config, update=update)
    return put(desired, again, version, now)


def restart(desired: Desired, mutation: RestartJob, version: int, now: float) -> tuple[Answer, Changes]:
    """A migration from a version to itself, under other names."""
    versions = desired.versions(mutation.key)
    refused = precondition(versions, mutation.expected, mutation.key) or single(desired, mutation.key)
    if refused is not None:
        return refused, {}
    job = versions[0]
    if job.stopped:
        text = f"{mutation.key} is stopped; start it instead"
        return Answer(result="conflict", message=text, hash=job.hash), {}
    update = _overridden(job.config, mutation.override) or mutation.update
    return begin(desired, job, job.config, update, version, now)


def begin(
    desired: Desired, old: Job, config: JobConfig, update: Update | None, version: int, now: float
) -> tuple[Answer, Changes]:
    """The new version and the migration to it; a job that is stopped just has another config from now on."""
    refused = circular(desired, config)
    if refused is not None:
        return refused, {}
    name, prefix = config.hash(), fresh_prefix(desired, config)
    owner = desired.resolve(name)
    if owner is not None and owner.config.key != config.key:
        text = f"the hash {name} belongs to {owner.config.key}; change any field"
        return Answer(result="conflict", message=text, hash=name), {}
    same = name == old.hash
    history = known_history(desired, config.key) if same else recorded(desired, config, name, now)
    new = Job(
        prefix=prefix,
        hash=name,
        config=config,
        version=version,
        number=history.current,
        stopped=old.stopped,
        places=old.places if same else None,
    )
    changes: Changes = {(JOB, prefix): new, (HISTORY, str(config.key)): history}
    if old.stopped:
        text = f"{config.key} is {name} now; it is stopped"
        return Answer(result="changed", message=text, hash=name), {**changes, (JOB, old.prefix): None}
    try:
        scales = len(old.members), _scale_of(desired, new)
        numbers = limits(update or config.update or Update(), *scales, everywhere=config.everywhere)
    except UnworkableError as error:
        return Answer(result="invalid", message=str(error), hash=name), {}
    migration = Migration(
        id=_fresh_id(desired, version),
        key=config.key,
        old=old.prefix,
        new=prefix,
        old_hash=old.hash,
        new_hash=name,
        old_scale=scales[0],
        new_scale=scales[1],
        limits=numbers,
        old_wanted=tuple(old.members),
        begun_at=now,
        tried_at=now,
        progress_at=now,
        generation=version,
    )
    changes[MIGRATION, migration.id] = migration
    changes.update({(MIGRATION, name): None for name in _outdated(desired, config.key)})
    what = f"restarted ({name})" if same else f"migrated from {old.hash} to {name}"
    text = f"{config.key} is being {what}, {numbers.strategy}; the migration is {migration.id}"
    return Answer(result="changed", message=text, hash=name, migration=migration.id), changes


def steer(desired: Desired, mutation: SteerMigration, version: int, now: float) -> tuple[Answer, Changes]:
    """What its operator says of a migration."""
    migration = desired.migrations.get(mutation.id)
    if migration is None:
        return Answer(result="not found", message=f"there is no migration {mutation.id}"), {}
    if mutation.expected not in (None, ANY, migration.generation):
        text = f"{migration.id} is at version {migration.generation}, not {mutation.expected}"
        return Answer(result="precondition failed", message=text), {}
    try:
        steered = _STEER[mutation.action](migration, now)
    except ValueError as error:
        return Answer(result="conflict", message=str(error), migration=migration.id), {}
    if steered == migration:
        text = f"{migration.id} is {_doing(migration)} already"
        return Answer(result="unchanged", message=text, migration=migration.id), {}
    text = f"{migration.id} is {_doing(steered)}"
    changed = msgspec.structs.replace(steered, generation=version)
    return Answer(result="changed", message=text, migration=migration.id), {
        (MIGRATION, migration.id): changed
    }


def step(desired: Desired, mutation: StepMigration, version: int) -> tuple[Answer, Changes]:
    """The scheduler's step; at the end of the way the version that was left goes."""
    after = mutation.migration
    before = desired.migrations.get(after.id)
    if before is None or before.over or before.generation != mutation.expected:
        at = before.generation if before is not None else "an end"
        return Answer(result="conflict", message=f"{after.id} is at {at}, not {mutation.expected}"), {}
    changes: Changes = {(MIGRATION, after.id): msgspec.structs.replace(after, generation=version)}
    left = {State.DONE: after.old, State.REVERTED: after.new}.get(after.state)
    if left is not None:
        changes[JOB, left] = None
    history = desired.history.get(str(after.key))
    kept = desired.jobs.get(after.old)
    other = after.old_hash != after.new_hash
    if after.state is State.REVERTED and other and history is not None and kept is not None:
        changes[HISTORY, str(after.key)] = history.back_to(kept.number, after.reason)
    return Answer(result="changed", message=f"{after.id} is {_doing(after)}"), changes


def settled(desired: Desired, changes: Changes, version: int) -> Changes:
    """What follows for migrations and history when versions go: what was under way has ended."""
    more: Changes = {}
    gone = [desired.jobs[key[1]] for key, value in changes.items() if key[0] == JOB and value is None]
    for job in gone:
        migration = desired.migration_of(job.prefix)
        if migration is not None and (MIGRATION, migration.id) not in changes:
            ended = way.moved(migration, Input.END, reason=f"{job.hash} was unscheduled", paused=False)
            more[MIGRATION, migration.id] = msgspec.structs.replace(ended, generation=version)
    for key in {job.config.key: None for job in gone}:
        if any(value.config.key == key for name, value in changes.items() if name[0] == JOB and value):
            continue
        left = [job for job in desired.versions(key) if job not in gone]
        history = desired.history.get(str(key))
        if not left:
            more[HISTORY, str(key)] = None
            more |= {(MIGRATION, name): None for name, row in desired.migrations.items() if row.key == key}
        elif history is not None and history.current != left[-1].number:
            more[HISTORY, str(key)] = history.back_to(left[-1].number, "unscheduled")
    return more


def _scale_of(desired: Desired, job: Job) -> int:
    """How many tasks a version has; where that is not known yet, as many as there are agents to take them."""
    if not job.config.everywhere or job.places is not None:
        return len(job.members)
    agents = desired.agents.values()
    return sum(bool(agent.sources) and not agent.drained and agent.lost_since is None for agent in agents)


def _with_plan(changes: Changes, planned: dict[str, str]) -> Changes:
    """The changes with the plan in the version that is new or changed; an older plan is outdated."""
    return {
        key: msgspec.structs.replace(value, planned=planned) if key[0] == JOB and value is not None else value
        for key, value in changes.items()
    }


def _fresh_id(desired: Desired, version: int) -> str:
    """What a new migration is called: by the version it begins at, which others of one commit share."""
    number = version
    while f"m-{number}" in desired.migrations:
        number += 1
    return f"m-{number}"


def _overridden(config: JobConfig, override: dict[str, Any] | None) -> Update | None:
    """A config's policy with these fields instead, which have been looked at already; None without any."""
    if not override:
        return None
    policy = msgspec.to_builtins(config.update or Update(), enc_hook=encode_hook)
    return msgspec.convert({**policy, **override}, Update, dec_hook=decode_hook)


def _not_replaceable(desired: Desired, mutation: PutJob) -> Answer:
    there = desired.resolve(mutation.old)
    if there is None:
        return Answer(result="not found", message=f"{mutation.old} not scheduled", hash=mutation.old)
    text = (
        f"{mutation.old} is {there.config.key} and the new config is {mutation.config.key}; a migration "
        f"goes from one config of a job to another"
    )
    return Answer(result="conflict", message=text, hash=mutation.old)


def _outdated(desired: Desired, key: JobKey) -> list[str]:
    """The migrations of a job that are over for longest, beyond those still told of."""
    over = [row for row in desired.migrations.values() if row.key == key and row.over]
    over.sort(key=lambda row: row.generation)
    return [row.id for row in over[: max(0, len(over) + 1 - ENDED_KEPT)]]


def _pause(migration: Migration, _now: float) -> Migration:
    if migration.state not in (State.RUNNING, State.REVERTING):
        raise ValueError(f"{migration.id} is {_doing(migration)}; there is nothing to pause")
    return msgspec.structs.replace(migration, paused=True)


def _resume(migration: Migration, now: float) -> Migration:
    if migration.over:
        raise ValueError(f"{migration.id} is {_doing(migration)}; there is nothing to resume")
    if not migration.paused and migration.state is not State.FAILED:
        return migration
    reason = "" if migration.state is State.FAILED else migration.reason
    return way.moved(migration, Input.RESUME, paused=False, reason=reason, tried_at=now, progress_at=now)


def _abort(migration: Migration, now: float) -> Migration:
    if migration.state is State.REVERTING:
        return migration
    if migration.over:
        raise ValueError(f"{migration.id} is {_doing(migration)}; there is nothing to abort")
    return way.moved(migration, Input.REVERT, paused=False, reason="aborted by its operator", progress_at=now)


def _promote(migration: Migration, now: float) -> Migration:
    if migration.promoted and migration.state in (State.RUNNING, State.DONE):
        return migration
    if migration.over or migration.state is State.REVERTING:
        raise ValueError(f"{migration.id} is {_doing(migration)}; there is nothing to promote")
    if not migration.awaits_promotion:
        raise ValueError(
            f"{migration.id} is {_doing(migration)}, {migration.limits.strategy}; only canaries are promoted"
        )
    return msgspec.structs.replace(migration, promoted=True, progress_at=now)


_STEER = {"pause": _pause, "resume": _resume, "abort": _abort, "promote": _promote}


def _doing(migration: Migration) -> str:
    return f"{migration.state}{', paused' if migration.paused else ''}"
