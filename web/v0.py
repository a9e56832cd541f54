"""`/api/v0`: what existing clients speak, byte for byte (the wire format of 2014)."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from scheduling.job import JobConfig
from scheduling.jobs import ScheduleJob, UnscheduleJob
from web.bodies import decode_job, parse_object, read_body
from web.cluster import Cluster, ClusterState
from web.migration_requests import migrate, read_migrate
from web.pages import Page, send_page
from web.problems import refused, unavailable, v0_reply
from web.requests_in import request_id
from web.v0_pages import V0Pages


class Schedule:
    """PUT or POST /schedule with a job config."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202, 409 when it is scheduled already."""
        name = request_id(req, resp)
        config = await _config(req)
        answer = await self._cluster.submit(ScheduleJob(config=config), name)
        if not answer.accepted:
            raise refused(answer)
        v0_reply(resp, 202, f"request to schedule '{config.job}' ({answer.hash}) has been accepted")

    on_post = on_put


class Unschedule:
    """PUT or POST /unschedule with a job config, PUT /unschedule/HASH without."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202, 404 when it is not scheduled."""
        name = request_id(req, resp)
        config = await _config(req)
        job = config.hash()
        await self._unschedule(job, name)
        v0_reply(resp, 202, f"request to unschedule {config.job} ({job}) has been accepted")

    on_post = on_put

    async def on_put_hash(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """202, 404 when it is not scheduled."""
        await self._unschedule(name, request_id(req, resp))
        v0_reply(resp, 202, f"request to unschedule job ({name}) has been accepted")

    async def _unschedule(self, job: str, name: str) -> None:
        answer = await self._cluster.submit(UnscheduleJob(hash=job), name)
        if not answer.accepted:
            raise refused(answer)


async def _config(req: falcon.asgi.Request) -> JobConfig:
    return decode_job(parse_object(await read_body(req), strict=False), strict=False)


class Migrate:
    """PUT or POST /migrate with `{"old": HASH, "new": JobConfig}`: new with this scheduler."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202; 404 when the old version is not scheduled, 409 when it can't be."""
        name = request_id(req, resp)
        answer = await migrate(self._cluster, req, await read_migrate(req, strict=False), name)
        if not answer.accepted:
            raise refused(answer)
        v0_reply(resp, 202, answer.message)

    on_put = on_post


class Registry:
    """GET /registry: the desired state."""

    def __init__(self, state: ClusterState, pages: V0Pages) -> None:
        self._state = state
        self._pages = pages

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every job config by its hash."""
        _must_be_known(self._state)
        await _send(req, resp, self._pages.registry())

    on_head = on_get


class Proxy:
    """GET /proxy: the actual state."""

    def __init__(self, state: ClusterState, pages: V0Pages) -> None:
        self._state = state
        self._pages = pages

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every agent's state by its endpoint."""
        _must_be_known(self._state)
        await _send(req, resp, self._pages.proxy())

    on_head = on_get


def _must_be_known(state: ClusterState) -> None:
    """Unknown is not empty: an old client would take an empty registry for the truth."""
    if not state.complete:
        raise unavailable("the state of the cluster has not arrived here yet; try again")


async def _send(req: falcon.asgi.Request, resp: falcon.asgi.Response, page: Page) -> None:
    # Never compressed: old clients poll this several times a second, and it changes as often.
    await send_page(req, resp, page, compress=False)


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, pages: V0Pages) -> None:
    """The routes of `/api/v0`."""
    unschedule = Unschedule(cluster)
    app.add_route("/api/v0/schedule", Schedule(cluster))
    app.add_route("/api/v0/unschedule", unschedule)
    app.add_route("/api/v0/unschedule/{name}", unschedule, suffix="hash")
    app.add_route("/api/v0/migrate", Migrate(cluster))
    app.add_route("/api/v0/registry", Registry(cluster.state, pages))
    app.add_route("/api/v0/proxy", Proxy(cluster.state, pages))
