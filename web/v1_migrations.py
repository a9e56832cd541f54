"""`/api/v1/migrations`: what is on its way from one version to another, and how to steer it."""

from __future__ import annotations

from typing import Any, get_args

import falcon.asgi
import msgspec

from scheduling.migrating import Action, SteerMigration
from scheduling.migration import Migration
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.migration_requests import migrate, read_migrate
from web.migrations import migration_view
from web.problems import HttpProblem
from web.replies import send_answer
from web.requests_in import expected_version, request_id, settle

PATH = "/api/v1/migrations"
ACTIONS: tuple[Action, ...] = get_args(Action)


class Migrations:
    """GET and POST of /migrations."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"migrations":[Migration…]}`, the newest first; those that are over for a while too."""
        await settle(req, resp, self._cluster.state)
        rows = sorted(self._cluster.state.desired.migrations.values(), key=_number, reverse=True)
        views = [migration_view(self._cluster.state, row, self._encoded.tasks.view) for row in rows]
        resp.content_type = JSON
        resp.data = msgspec.json.encode({"migrations": views})

    on_head = on_get

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202, the migration has begun; 200 when the job is there already."""
        name = request_id(req, resp)
        asked = await read_migrate(req, strict=True)
        answer = await migrate(self._cluster, req, asked, name)
        send_answer(resp, answer, 202 if answer.migration else None)
        if answer.migration:
            resp.set_header("Location", f"{PATH}/{answer.migration}")
            resp.set_header("ETag", f'"{answer.version}"')


class OneMigration:
    """GET /migrations/{id}."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """How far it is; its version is the ETag that If-Match takes."""
        await settle(req, resp, self._cluster.state)
        row = _row(self._cluster, name)
        resp.set_header("ETag", f'"{row.generation}"')
        resp.set_header("Cache-Control", "no-cache")
        resp.content_type = JSON
        resp.data = msgspec.json.encode(migration_view(self._cluster.state, row, self._encoded.tasks.view))

    on_head = on_get


class Steer:
    """POST /migrations/{id}/{action}: pause, resume, abort, promote."""

    def __init__(self, cluster: Cluster, action: Action) -> None:
        self._cluster = cluster
        self._action = action

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200; 409 where that makes no sense any more."""
        asked = request_id(req, resp)
        expected = expected_version(req, _row(self._cluster, name).generation)
        mutation = SteerMigration(id=name, action=self._action, expected=expected)
        answer = await self._cluster.submit(mutation, asked)
        send_answer(resp, answer)
        resp.set_header("ETag", f'"{answer.version}"')


def _row(cluster: Cluster, name: str) -> Migration:
    row = cluster.state.desired.migrations.get(name)
    if row is None:
        raise HttpProblem(404, f"there is no migration {name[:100]!r}; {PATH} lists them")
    return row


def _number(row: Migration) -> int:
    return int(row.id.removeprefix("m-"))


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The routes of migrations."""
    app.add_route(PATH, Migrations(cluster, encoded))
    app.add_route(PATH + "/{name}", OneMigration(cluster, encoded))
    for action in ACTIONS:
        app.add_route(f"{PATH}/{{name}}/{action}", Steer(cluster, action))
