"""`/api/v1/agents`: the hosts, how the link to each is, and what it has."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from web import limits
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.pages import Page, send_page
from web.problems import HttpProblem
from web.requests_in import settle


class Agents:
    """GET /agents."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"agents":[Agent…]}`."""
        await settle(req, resp, self._cluster.state)
        await send_page(req, resp, self._encoded.agents.page(), compress=True)

    on_head = on_get


class OneAgent:
    """GET /agents/{name}."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """The agent, or 404."""
        await settle(req, resp, self._cluster.state)
        body = self._encoded.agents.encoded(name)
        if body is None:
            shown = name[: limits.LONGEST_SHOWN]
            raise HttpProblem(404, f"there is no agent {shown!r}; /api/v1/agents lists the agents")
        await send_page(req, resp, Page(body, JSON), compress=False)

    on_head = on_get


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The routes of agents."""
    app.add_route("/api/v1/agents", Agents(cluster, encoded))
    app.add_route("/api/v1/agents/{name}", OneAgent(cluster, encoded))
