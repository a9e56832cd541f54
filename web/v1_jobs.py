"""`/api/v1/jobs`: jobs as resources; a PUT is idempotent and can be made conditional."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import falcon.asgi
import msgspec

from scheduling.job import JobKey
from scheduling.registry import Answer, DeleteJob, PutJob
from scheduling.validation import Problem
from web import limits
from web.bodies import decode_job, parse_object, read_body
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.pages import send_page
from web.problems import STATUSES, HttpProblem, invalid, refused
from web.requests_in import INDEX, expected_version, request_id, settle
from web.shapes import ChangeReply

PREFIX = "/api/v1/jobs"


class Jobs:
    """GET /jobs: all of them, by key."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"jobs":[Job…]}`."""
        await settle(req, resp, self._cluster.state)
        await send_page(req, resp, self._encoded.jobs.page(), compress=True)

    on_head = on_get


class OneJob:
    """GET, PUT and DELETE of /jobs/{product}/{environment}/{job}."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, product: str, environment: str, job: str
    ) -> None:
        """The job with its tasks; its version is the ETag that If-Match takes."""
        await settle(req, resp, self._cluster.state)
        key = JobKey(product, environment, job)
        body = self._encoded.job_with_tasks(key)
        if body is None:
            raise HttpProblem(404, f"there is no job {_shown(key)}; {PREFIX} lists them")
        # No 304 for this ETag: the tasks change without it.
        resp.set_header("ETag", f'"{self._version(key)}"')
        resp.set_header("Cache-Control", "no-cache")
        resp.content_type = JSON
        resp.data = body

    on_head = on_get

    async def on_put(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, product: str, environment: str, job: str
    ) -> None:
        """201 created, 200 changed or unchanged, 409 when it can't be changed in place."""
        name = request_id(req, resp)
        key = JobKey(product, environment, job)
        raw = parse_object(await read_body(req), strict=True)
        config = decode_job(_with_path(raw, key), strict=True)
        expected = expected_version(req, self._version(key))
        answer = await self._cluster.submit(PutJob(config=config, expected=expected), name)
        self._reply(resp, answer, key, STATUSES[answer.result])
        if answer.result == "created":
            resp.set_header("Location", _location(key))

    async def on_delete(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, product: str, environment: str, job: str
    ) -> None:
        """202, all its versions are being stopped; 404 when there is none."""
        name = request_id(req, resp)
        key = JobKey(product, environment, job)
        expected = expected_version(req, self._version(key))
        answer = await self._cluster.submit(DeleteJob(key=key, expected=expected), name)
        self._reply(resp, answer, key, 202)

    def _reply(self, resp: falcon.asgi.Response, answer: Answer, key: JobKey, status: int) -> None:
        if not answer.accepted:
            raise refused(answer)
        # A PUT that changed nothing leaves the job at its own version, which If-Match goes by.
        version = self._version(key) if answer.result == "unchanged" else answer.version
        resp.set_header("ETag", f'"{version}"')
        resp.set_header(INDEX, str(answer.version))
        resp.status = status
        resp.content_type = JSON
        reply = ChangeReply(
            result=answer.result,  # type: ignore[arg-type] # the refusals have been raised
            message=answer.message,
            hash=answer.hash,
            version=answer.version,
        )
        resp.data = msgspec.json.encode(reply)

    def _version(self, key: JobKey) -> int:
        return max((job.version for job in self._cluster.state.desired.versions(key)), default=0)


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


def _location(key: JobKey) -> str:
    return "/".join([PREFIX, *(quote(part, safe="") for part in msgspec.structs.astuple(key))])


def _shown(key: JobKey) -> str:
    return str(key)[: limits.LONGEST_SHOWN]


async def not_a_job(
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response | None,  # noqa: ARG001 - the framework names it
    **params: str,
) -> None:
    """Below /jobs, but no path of a job: a name with a `/`, or one too few."""
    parts = params["rest"].split("/")
    if len(parts) > 3:
        name = "/".join(parts[2:])[: limits.LONGEST_SHOWN]
        raise invalid([Problem("job", name, "a name can't contain '/'")])
    raise HttpProblem(
        404,
        f"{req.path[: limits.LONGEST_SHOWN]} is no job; a job is at {PREFIX}/PRODUCT/ENVIRONMENT/JOB",
    )


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The routes of jobs."""
    app.add_route(PREFIX, Jobs(cluster, encoded))
    app.add_route(PREFIX + "/{product}/{environment}/{job}", OneJob(cluster, encoded))
    app.add_sink(not_a_job, PREFIX + r"/(?P<rest>.*)$")
