"""`/api/v1/agents/{name}/registration`: agents that announce themselves, with a token."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any

import falcon.asgi
import msgspec

from config.bounds import LONGEST_IDENTITY, RENEWAL_SECONDS
from scheduling.lost import is_connected
from scheduling.registration import DeregisterAgent, RegisterAgent, is_registered
from scheduling.validation import Problem
from web.agent_requests import read_agent
from web.bodies import parse_object, quotable, read_body
from web.cluster import Cluster
from web.encoded import JSON
from web.problems import HttpProblem, invalid, refused
from web.requests_in import request_id
from web.shapes import RegistrationReply

PATH = "/api/v1/agents/{name}/registration"
_SCHEME = "Bearer "
_TOKEN_CHARACTERS = 32


class Doorkeeper:
    """Who has the token in this file may register; without the file nobody. It is read each time, so that a
    new token counts at once."""

    def __init__(self, token_file: Path | None) -> None:
        self._file = token_file

    def admit(self, req: falcon.asgi.Request) -> None:
        """Raises HttpProblem for who has not the token. What was sent is never told or logged."""
        token = self._token()
        if token is None:
            raise HttpProblem(
                403, "no agent may register here; `harpoon-scheduler register-token` makes the token for it"
            )
        given = req.get_header("Authorization") or ""
        right = given.startswith(_SCHEME) and hmac.compare_digest(
            given.removeprefix(_SCHEME).strip().encode("utf-8", "replace"), token
        )
        if not right:
            what = "the token is wrong" if given else "there is no token"
            raise HttpProblem(
                401,
                f"{what}; send the scheduler's: Authorization: Bearer TOKEN",
                headers={"WWW-Authenticate": "Bearer"},
            )

    def _token(self) -> bytes | None:
        try:
            if self._file is None or self._file.stat().st_mode & 0o077:
                return None
            token = self._file.read_bytes().strip()
        except OSError:
            return None
        return token if len(token) >= _TOKEN_CHARACTERS else None


class Registration:
    """PUT and DELETE of /agents/{name}/registration."""

    def __init__(self, cluster: Cluster, doorkeeper: Doorkeeper) -> None:
        self._cluster = cluster
        self._doorkeeper = doorkeeper

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200, it is registered, or its registration renewed; 201 when it is new."""
        self._doorkeeper.admit(req)
        key = request_id(req, resp)
        mutation = _read(parse_object(await read_body(req), strict=True), name)
        state = self._cluster.state
        if is_registered(state.desired, mutation) and state.connected:
            self._cluster.renew(name)
            _reply(resp, "unchanged", f"{name} is registered already", state.version)
            return
        old = state.desired.agents.get(name)
        moves = old is not None and old.endpoint != mutation.endpoint
        if (
            old is not None
            and moves
            and old.identity != mutation.identity
            and is_connected(state.actual, name)
        ):
            text = f"{name} is connected at {old.endpoint}; start this agent with another --name"
            raise HttpProblem(409, text)
        answer = await self._cluster.submit(mutation, key)
        if not answer.accepted:
            raise refused(answer)
        self._cluster.renew(name)
        resp.status = 201 if answer.result == "created" else 200
        _reply(resp, answer.result, answer.message, answer.version)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, name: str) -> None:
        """200, it leaves if it has no tasks; `?identity=` as it was registered with."""
        self._doorkeeper.admit(req)
        key = request_id(req, resp)
        identity = (req.get_param("identity") or "")[:LONGEST_IDENTITY]
        answer = await self._cluster.submit(DeregisterAgent(name=name, identity=identity), key)
        if not answer.accepted:
            raise refused(answer)
        _reply(resp, answer.result, answer.message, answer.version)


def _read(raw: dict[str, Any], name: str) -> RegisterAgent:
    """`{"endpoint": "HOST:PORT", "labels": {…}, "identity": "…"}`. Raises HttpProblem."""
    identity = raw.pop("identity", "")
    if not isinstance(identity, str) or len(identity) > LONGEST_IDENTITY or not identity.isalnum():
        right = f"it must be 1 to {LONGEST_IDENTITY} letters and digits, the same for one data directory"
        raise invalid([Problem("identity", quotable(identity), right)])
    agent = read_agent(raw, name)
    return RegisterAgent(name=agent.name, endpoint=agent.endpoint, labels=agent.labels, identity=identity)


def _reply(resp: falcon.asgi.Response, result: Any, message: str, version: int) -> None:
    resp.content_type = JSON
    reply = RegistrationReply(result=result, message=message, version=version, renew_seconds=RENEWAL_SECONDS)
    resp.data = msgspec.json.encode(reply)


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, token_file: Path | None) -> None:
    """The route of registrations."""
    app.add_route(PATH, Registration(cluster, Doorkeeper(token_file)))
