"""Taking over the registry file of the first harpoon-scheduler: the bytes of its GET /registry."""

from __future__ import annotations

from pathlib import Path

import msgspec

from actors.store import Store
from scheduling.desired import JOB, Desired
from scheduling.job import JobConfig, decode_hook
from scheduling.jobs import ScheduleJob
from scheduling.registry import judge
from scheduling.replica import Changes
from scheduling.validation import problems


class ImportFileError(ValueError):
    """The file can't be taken over; nothing of it was."""


def read_old_registry(path: Path) -> list[JobConfig]:
    """The jobs in an old registry file. Raises ImportFileError, naming what is wrong."""
    try:
        jobs = msgspec.json.decode(path.read_bytes(), type=dict[str, JobConfig], dec_hook=decode_hook)
    except OSError as error:
        raise ImportFileError(f"{path} can't be read: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ImportFileError(f"{path} is no registry file: {error}") from None
    for name, config in jobs.items():
        wrong = problems(config)
        if wrong:
            raise ImportFileError(f"{path}: {name}: {'; '.join(map(str, wrong))}")
        if config.hash() != name:
            raise ImportFileError(f"{path}: {name} does not match its config, whose hash is {config.hash()}")
    return list(jobs.values())


def import_jobs(store: Store, jobs: list[JobConfig]) -> int:
    """Write the jobs that are not there yet; their running tasks are adopted later. Returns how many."""
    version, state = store.load()
    desired = Desired()
    desired.apply(state)
    changes: Changes = {}
    for config in jobs:
        _, brought = judge(desired, ScheduleJob(config=config, adopt=True), version + 1)
        desired.apply(brought)
        changes.update(brought)
    if changes:
        store.commit(version + 1, changes, {})
    return sum(key[0] == JOB for key in changes)
