"""What requests about one job share: its config in the body, its version, and that there is none."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from scheduling.desired import Desired
from scheduling.job import JobConfig, JobKey
from scheduling.validation import Problem
from web import limits
from web.bodies import decode_job, parse_object, read_body
from web.problems import HttpProblem, invalid

JOBS = "/api/v1/jobs"


async def read_job(req: falcon.asgi.Request, key: JobKey) -> JobConfig:
    """The config in the body, of the job that the path names. Raises HttpProblem naming what is wrong."""
    raw = parse_object(await read_body(req), strict=True)
    return decode_job(_with_path(raw, key), strict=True)


def job_version(desired: Desired, key: JobKey) -> int:
    """The version that If-Match goes by; 0 for a job that there is not."""
    return max((job.version for job in desired.versions(key)), default=0)


def missing(key: JobKey) -> HttpProblem:
    """404."""
    return HttpProblem(404, f"there is no job {str(key)[: limits.LONGEST_SHOWN]}; {JOBS} lists them")


def _with_path(raw: dict[str, Any], key: JobKey) -> dict[str, Any]:
    """The body with the names of the path; where it has its own, they must be the same."""
    wrong = [
        Problem(name, raw[name], f"it must be {value!r} as in the path, or be left out")
        for name, value in msgspec.structs.asdict(key).items()
        if name in raw and raw[name] != value
    ]
    if wrong:
        raise invalid(wrong)
    return {**raw, **msgspec.structs.asdict(key)}
