"""`/api/v1/agents`: the hosts, how the link to each is, and what it has."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from scheduling.draining import AddAgent, DrainAgent, RemoveAgent, UndrainAgent
from scheduling.lost import is_connected
from scheduling.presence import DeclareLost
from web import limits
from web.agent_requests import read_agent, read_deadline
from web.bodies import parse_object, read_body
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.pages import Page, send_page
from web.problems import HttpProblem
from web.replies import send_answer
from web.requests_in import expected_version, request_id, settle


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
            raise _missing(name)
        await send_page(req, resp, Page(body, JSON), compress=False)

    on_head = on_get

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """201, 200 when it is there already; `{"endpoint": "HOST:PORT", "labels": {…}}`."""
        key = request_id(req, resp)
        mutation = read_agent(parse_object(await read_body(req), strict=True), name)
        await _submit(self._cluster, req, resp, mutation, key)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """202, it leaves once it is empty; 409 when something else names it."""
        key = request_id(req, resp)
        await _submit(self._cluster, req, resp, RemoveAgent(name=name), key, 202)


class Closing:
    """POST and DELETE of /agents/{name}/drain and /cordon."""

    def __init__(self, cluster: Cluster, *, empty: bool) -> None:
        self._cluster = cluster
        self._empty = empty

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200, it gets no new tasks; drained, it is emptied, by `{"deadline": "10m"}` at the latest."""
        key = request_id(req, resp)
        seconds = await read_deadline(req) if self._empty else None
        mutation = DrainAgent(agent=name, empty=self._empty, seconds=seconds)
        await _submit(self._cluster, req, resp, mutation, key)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200, it takes tasks again."""
        key = request_id(req, resp)
        await _submit(self._cluster, req, resp, UndrainAgent(agent=name), key)


class Lost:
    """POST /agents/{name}/lost."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200, it is declared lost; 409 while it is connected, since then its tasks are known to be there."""
        key = request_id(req, resp)
        state = self._cluster.state
        # Judged only where it is known: who is cut off from the actors gets the 503 of `submit`.
        if state.connected and name not in state.desired.agents:
            raise _missing(name)
        if state.connected and is_connected(state.actual, name):
            raise HttpProblem(409, f"{name} is connected; only an agent that is away can be declared lost")
        await _submit(self._cluster, req, resp, DeclareLost(agent=name), key)


async def _submit(
    cluster: Cluster,
    req: falcon.asgi.Request,
    resp: falcon.asgi.Response,
    mutation: AddAgent | RemoveAgent | DrainAgent | UndrainAgent | DeclareLost,
    key: str,
    status: int | None = None,
) -> None:
    """Submit a change of an agent under the version that If-Match demands, and reply with its new one."""
    name = mutation.name if isinstance(mutation, AddAgent | RemoveAgent) else mutation.agent
    known = cluster.state.desired.agents.get(name)
    expected = expected_version(req, known.version if known is not None else 0)
    answer = await cluster.submit(msgspec.structs.replace(mutation, expected=expected), key)
    send_answer(resp, answer, status)
    known = cluster.state.desired.agents.get(name)
    if known is not None:
        resp.set_header("ETag", f'"{known.version}"')


def _missing(name: str) -> HttpProblem:
    shown = name[: limits.LONGEST_SHOWN]
    return HttpProblem(404, f"there is no agent {shown!r}; /api/v1/agents lists the agents")


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The routes of agents."""
    app.add_route("/api/v1/agents", Agents(cluster, encoded))
    app.add_route("/api/v1/agents/{name}", OneAgent(cluster, encoded))
    app.add_route("/api/v1/agents/{name}/lost", Lost(cluster))
    app.add_route("/api/v1/agents/{name}/drain", Closing(cluster, empty=True))
    app.add_route("/api/v1/agents/{name}/cordon", Closing(cluster, empty=False))
