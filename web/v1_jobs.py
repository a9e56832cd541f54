"""`/api/v1/jobs`: jobs as resources; a PUT is idempotent and can be made conditional."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import falcon.asgi
import msgspec

from scheduling.answer import Answer
from scheduling.job import JobKey
from scheduling.jobs import DeleteJob
from scheduling.migrating import PutJob
from scheduling.validation import Problem
from web import limits, v1_job_actions
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.job_requests import JOBS, job_version, missing, read_job
from web.pages import send_page
from web.problems import STATUSES, HttpProblem, invalid
from web.replies import send_answer
from web.requests_in import REQUEST_ID, expected_version, request_id, settle
from web.v1_plan import Planner


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

    def __init__(self, cluster: Cluster, encoded: Encoded, planner: Planner) -> None:
        self._cluster = cluster
        self._encoded = encoded
        self._planner = planner

    async def on_get(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, product: str, environment: str, job: str
    ) -> None:
        """The job with its tasks; its version is the ETag that If-Match takes."""
        await settle(req, resp, self._cluster.state)
        key = JobKey(product, environment, job)
        body = self._encoded.job_with_tasks(key)
        if body is None:
            raise missing(key)
        # No 304 for this ETag: the tasks change without it.
        resp.set_header("ETag", f'"{self._version(key)}"')
        resp.set_header("Cache-Control", "no-cache")
        resp.content_type = JSON
        resp.data = body

    on_head = on_get

    async def on_put(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, product: str, environment: str, job: str
    ) -> None:
        """201 created, 200 unchanged or changed in place, 202 a migration has begun, 409 during one.

        `?approve=TOKEN`: only what the plan with this token says.
        """
        name = request_id(req, resp)
        key = JobKey(product, environment, job)
        config = await read_job(req, key)
        expected = expected_version(req, self._version(key))
        mutation = PutJob(config=config, expected=expected)
        token = req.get_param("approve")
        if token is not None:
            given = name if req.get_header(REQUEST_ID) is not None else ""
            mutation = await self._planner.approved(config, token, expected, given)
        answer = await self._cluster.submit(mutation, name)
        self._reply(resp, answer, key, 202 if answer.migration else STATUSES[answer.result])
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
        # A PUT that changed nothing leaves the job at its own version, which If-Match goes by.
        version = self._version(key) if answer.result == "unchanged" else answer.version
        send_answer(resp, answer, status)
        resp.set_header("ETag", f'"{version}"')

    def _version(self, key: JobKey) -> int:
        return job_version(self._cluster.state.desired, key)


def _location(key: JobKey) -> str:
    return "/".join([JOBS, *(quote(part, safe="") for part in msgspec.structs.astuple(key))])


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
        f"{req.path[: limits.LONGEST_SHOWN]} is no job; a job is at {JOBS}/PRODUCT/ENVIRONMENT/JOB",
    )


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded, planner: Planner) -> None:
    """The routes of jobs."""
    path = JOBS + "/{product}/{environment}/{job}"
    app.add_route(JOBS, Jobs(cluster, encoded))
    app.add_route(path, OneJob(cluster, encoded, planner))
    v1_job_actions.add_routes(app, cluster, planner, path)
    app.add_sink(not_a_job, JOBS + r"/(?P<rest>.*)$")
