"""`/api/v1/brake`: whether too many agents are away for any to be declared lost, and how to overrule that."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from scheduling.presence import ReleaseBrake
from web.away import brake_view
from web.cluster import Cluster
from web.encoded import JSON
from web.problems import HttpProblem
from web.replies import send_answer
from web.requests_in import request_id, settle

PATH = "/api/v1/brake"


class OneBrake:
    """GET /brake."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Whether it holds, until when, and who is away."""
        await settle(req, resp, self._cluster.state)
        resp.set_header("Cache-Control", "no-store")
        resp.content_type = JSON
        resp.data = msgspec.json.encode(brake_view(self._cluster.state))

    on_head = on_get


class Release:
    """POST /brake/release."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, it is released until this outage is over; 409 when it does not hold."""
        name = request_id(req, resp)
        state = self._cluster.state
        # Refused only where that is known: who is cut off from the actors gets the 503 of `submit`.
        if state.connected and state.brake is None and state.desired.brake_release is None:
            detail = f"{brake_view(state).message}; it can be released only while it holds"
            raise HttpProblem(409, detail)
        send_answer(resp, await self._cluster.submit(ReleaseBrake(), name))


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster) -> None:
    """The routes of the brake."""
    app.add_route(PATH, OneBrake(cluster))
    app.add_route(PATH + "/release", Release(cluster))
