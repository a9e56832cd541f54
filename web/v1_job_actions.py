"""What else can be done about a job, below its path: history, revert, restart, stop, start, plan."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from scheduling.job import JobKey
from scheduling.jobs import HaltJob
from scheduling.migrating import RestartJob, RevertJob
from scheduling.registry import Mutation
from scheduling.validation import Problem
from web.bodies import quotable
from web.cluster import Cluster
from web.encoded import ENCODER, JSON
from web.job_requests import job_version, missing, read_job
from web.migration_requests import read_override
from web.migrations import history_view
from web.problems import invalid
from web.replies import send_answer
from web.requests_in import expected_version, request_id, settle
from web.v1_plan import OnePlan, Planner

_Request = falcon.asgi.Request
_Response = falcon.asgi.Response


class JobActions:
    """The sub-resources of /jobs/{product}/{environment}/{job}; each is a route with a suffix."""

    def __init__(self, cluster: Cluster, planner: Planner) -> None:
        self._cluster = cluster
        self._plan = OnePlan(cluster, planner)

    async def on_get_history(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """`{"versions":[…]}`, the newest first."""
        await settle(req, resp, self._cluster.state)
        key = JobKey(product, environment, job)
        if not self._cluster.state.desired.versions(key):
            raise missing(key)
        resp.set_header("Cache-Control", "no-store")  # configs may hold secrets
        resp.content_type = JSON
        resp.data = ENCODER.encode({"versions": history_view(self._cluster.state.desired, key)})

    async def on_post_plan(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """What a PUT of the body would do."""
        config = await read_job(req, JobKey(product, environment, job))
        await self._plan.post(req, resp, config)

    async def on_post_revert(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """A migration back to the version `{"version": N}`, without to the last good one."""
        key = JobKey(product, environment, job)
        raw = await read_override(req, "version")
        number = raw.get("version")
        if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
            raise invalid([Problem("version", quotable(number), "it must be a number, as history shows it")])
        expected = expected_version(req, self._version(key))
        mutation = RevertJob(key=key, number=number, override=raw.get("update"), expected=expected)
        await self._change(req, resp, key, mutation)

    async def on_post_restart(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """All tasks are replaced by new ones of the same config, by the job's policy."""
        key = JobKey(product, environment, job)
        raw = await read_override(req)
        expected = expected_version(req, self._version(key))
        mutation = RestartJob(key=key, override=raw.get("update"), expected=expected)
        await self._change(req, resp, key, mutation)

    async def on_post_stop(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """Its tasks are stopped; it stays, and can be started again."""
        await self._halt(req, resp, JobKey(product, environment, job), stopped=True)

    async def on_post_start(
        self, req: _Request, resp: _Response, product: str, environment: str, job: str
    ) -> None:
        """The tasks of a stopped job are started again."""
        await self._halt(req, resp, JobKey(product, environment, job), stopped=False)

    async def _halt(self, req: _Request, resp: _Response, key: JobKey, *, stopped: bool) -> None:
        expected = expected_version(req, self._version(key))
        await self._change(req, resp, key, HaltJob(key=key, stopped=stopped, expected=expected))

    async def _change(self, req: _Request, resp: _Response, key: JobKey, mutation: Mutation) -> None:
        answer = await self._cluster.submit(mutation, request_id(req, resp))
        send_answer(resp, answer)
        resp.set_header("ETag", f'"{self._version(key)}"')

    def _version(self, key: JobKey) -> int:
        return job_version(self._cluster.state.desired, key)


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, planner: Planner, path: str) -> None:
    """The routes below a job's path."""
    actions = JobActions(cluster, planner)
    for suffix in ("history", "plan", "revert", "restart", "stop", "start"):
        app.add_route(f"{path}/{suffix}", actions, suffix=suffix)
