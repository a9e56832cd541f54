"""Whether every acknowledged request is in the registry, judged from the answers alone.

For a job version, the answer with the highest version says what must be so, unless a request that
touches the same job is still unanswered.
"""

from __future__ import annotations

from scheduling.desired import JOB, Job
from scheduling.job import JobConfig
from scheduling.registry import DeleteJob, PutJob, ScheduleJob, UnscheduleJob
from simulation.disk import Disk
from simulation.facts import Violation
from simulation.users import Asked


def acknowledged_is_kept(asked: list[Asked], disk: Disk) -> Violation | None:
    """ "An accepted request (2xx) survives kill -9 of anything at any time"."""
    expected, unsure = _expected(asked)
    stored = {job.hash: job for key, job in disk.state.items() if key[0] == JOB and isinstance(job, Job)}
    for name, config in expected.items():
        if _job_of(name) in unsure:
            continue
        job = stored.get(name)
        if config is not None and (job is None or job.config != config):
            return Violation("what was accepted is kept", f"{name} was accepted and is not there", (name,))
        if config is None and job is not None:
            return Violation("what was accepted is kept", f"{name} was unscheduled and is there", (name,))
    return None


def _job_of(name: str) -> str:
    return name.rpartition("-")[0]


def _expected(asked: list[Asked]) -> tuple[dict[str, JobConfig | None], set[str]]:
    """By hash, what must be there (None: must not); and the job names that nothing can be said of."""
    expected: dict[str, JobConfig | None] = {}
    unsure: set[str] = set()
    answered = []
    for one in asked:
        if one.answer is not None and one.answer.accepted:
            answered.append((one.answer.version, one))
        elif one.answer is None:
            mutation = one.mutation
            if isinstance(mutation, ScheduleJob | PutJob):
                unsure.add(mutation.config.job)
            elif isinstance(mutation, UnscheduleJob):
                unsure.add(_job_of(mutation.hash))
            elif isinstance(mutation, DeleteJob):
                unsure.add(mutation.key.job)
    for _, one in sorted(answered, key=lambda pair: pair[0]):
        _effect(one, expected)
    return expected, unsure


def _effect(one: Asked, expected: dict[str, JobConfig | None]) -> None:
    mutation = one.mutation
    if isinstance(mutation, ScheduleJob | PutJob):
        if isinstance(mutation, PutJob):
            for name in [name for name in expected if _job_of(name) == mutation.config.job]:
                expected[name] = None
        expected[mutation.config.hash()] = mutation.config
    elif isinstance(mutation, UnscheduleJob) and one.answer is not None:
        expected[one.answer.hash] = None
    elif isinstance(mutation, DeleteJob):
        for name in [name for name in expected if _job_of(name) == mutation.key.job]:
            expected[name] = None
