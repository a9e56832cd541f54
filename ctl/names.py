"""Which job a user means: its job name where that is unique, else product/environment/job, or a hash."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ctl.errors import UserMistakeError
from ctl.shapes import Job, Version
from ctl.text import joined


class Found(msgspec.Struct, frozen=True):
    """The job that was meant, and the one version of it if a hash was given."""

    job: Job
    version: Version | None = None


def find(jobs: Sequence[Job], name: str) -> Found | None:
    """The job that `name` means, None if there is none.

    Raises UserMistakeError that lists the candidates when there are several.
    """
    for job in jobs:
        if job.key == name:
            return Found(job)
    named = [Found(job) for job in jobs if job.key.rpartition("/")[2] == name]
    # While a job is restarted two of its versions have one hash: the newer one is meant.
    hashed = {
        job.key: Found(job, version)
        for job in jobs
        for version in job.versions
        if name in (version.hash, version.prefix)
    }
    found = [*named, *hashed.values()]
    if len(found) > 1:
        candidates = joined(_told(one) for one in found)
        raise UserMistakeError(f'"{name}" is ambiguous; it could be {candidates}')
    return found[0] if found else None


def unknown(name: str) -> UserMistakeError:
    """The complaint about a name that means no job."""
    return UserMistakeError(f'no job is called "{name}"; `harpoonctl jobs` lists them')


def _told(found: Found) -> str:
    return f"{found.job.key} (as {found.version.hash})" if found.version else found.job.key
