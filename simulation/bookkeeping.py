"""Whether every acknowledged request is in the registry, judged from the answers alone.

For a job version, the answer with the highest version says what must be so, unless a request that
touches the same job is still unanswered. A migration ends in the new or in the old version: until
something else is said of the job, one of them must be there, and nothing else.
"""

from __future__ import annotations

import msgspec

from scheduling.desired import JOB, Job
from scheduling.job import JobConfig, JobKey
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import PutJob, RestartJob, RevertJob
from simulation.disk import Disk
from simulation.facts import Violation
from simulation.users import Asked


class _Expected(msgspec.Struct):
    """What must be of one job: these configs by hash, all of them, or at least one of them (`either`), and
    none of those that are `gone`.
    """

    configs: dict[str, JobConfig] = msgspec.field(default_factory=dict)
    gone: set[str] = msgspec.field(default_factory=set)
    either: bool = False
    unsure: bool = False


def acknowledged_is_kept(asked: list[Asked], disk: Disk) -> Violation | None:
    """ "An accepted request (2xx) survives kill -9 of anything at any time"."""
    stored: dict[str, dict[str, JobConfig]] = {}
    for key, job in disk.state.items():
        if key[0] == JOB and isinstance(job, Job):
            stored.setdefault(job.config.job, {})[job.hash] = job.config
    for name, expected in _expected(asked).items():
        there = stored.get(name, {})
        if expected.unsure:
            continue
        for missing in [hash_ for hash_, config in expected.configs.items() if there.get(hash_) != config]:
            if not expected.either or not there:
                return Violation(
                    "what was accepted is kept", f"{missing} was accepted and is not there", (missing,)
                )
        for left in sorted(expected.gone & set(there)):
            return Violation("what was accepted is kept", f"{left} was unscheduled and is there", (left,))
    return None


def _expected(asked: list[Asked]) -> dict[str, _Expected]:
    """By the name of a job what must be of it."""
    expected: dict[str, _Expected] = {}
    answered = [(one.answer.version, one) for one in asked if one.answer is not None and one.answer.accepted]
    for _, one in sorted(answered, key=lambda pair: pair[0]):
        name = _job_of(one)
        if name:
            _effect(one, expected.setdefault(name, _Expected()))
    for one in asked:
        if one.answer is None and (name := _job_of(one)):
            expected.setdefault(name, _Expected()).unsure = True
    return expected


def _job_of(one: Asked) -> str:
    mutation = one.mutation
    if isinstance(mutation, ScheduleJob | PutJob):
        return mutation.config.job
    if isinstance(mutation, UnscheduleJob):
        return mutation.hash.rpartition("-")[0]
    if isinstance(mutation, DeleteJob | HaltJob | RestartJob | RevertJob):
        return mutation.key.job if isinstance(mutation.key, JobKey) else ""
    return ""


def _effect(one: Asked, expected: _Expected) -> None:
    mutation, answer = one.mutation, one.answer
    if answer is None or answer.result == "unchanged":
        return
    before = set(expected.configs)
    if isinstance(mutation, ScheduleJob):
        # It was refused unless all was at rest, with the version of the answer or without any.
        expected.configs[mutation.config.hash()] = mutation.config
    elif isinstance(mutation, PutJob) and answer.migration:
        expected.configs[mutation.config.hash()] = mutation.config
        expected.either = True
    elif isinstance(mutation, PutJob):
        expected.configs = {mutation.config.hash(): mutation.config}
        expected.either = False
    elif isinstance(mutation, RestartJob) and answer.migration:
        expected.either = True  # two versions of one config: whichever goes, the other is left
    elif isinstance(mutation, RevertJob):
        expected.unsure = True
    elif isinstance(mutation, UnscheduleJob):
        expected.configs.pop(answer.hash, None)
        # Which of a migration's versions is left is known only where it ended; nothing may be.
        expected.unsure = expected.unsure or expected.either
    elif isinstance(mutation, DeleteJob):
        expected.configs, expected.either, expected.unsure = {}, False, False
    expected.gone = (expected.gone | before) - set(expected.configs)
