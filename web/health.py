"""`/health`: whether this worker lives and can do its work; `/api/v1/version`: which one it is."""

from __future__ import annotations

import time
from typing import Any

import falcon.asgi
import msgspec

from web import limits
from web.cluster import ClusterState
from web.encoded import JSON
from web.members import members
from web.supervision import supervision


class Live:
    """GET /health/live: 200 while the process answers at all."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"live":true}`."""
        resp.content_type = JSON
        resp.data = b'{"live":true}'

    on_head = on_get


class Ready:
    """GET /health/ready: 200 when reads are fresh and writes can be taken, else 503 with the reasons."""

    def __init__(self, state: ClusterState) -> None:
        self._state = state

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"ready":…,"why":[…],"brake":…,"actors":[…],"supervision":[…],"members":[…],"version":N}`."""
        body = readiness(self._state, time.time())
        resp.content_type = JSON
        resp.set_header("Cache-Control", "no-store")
        if not body["ready"]:
            resp.status = 503
            resp.set_header("Retry-After", str(limits.RETRY_SECONDS))
        resp.data = msgspec.json.encode(body)

    on_head = on_get


def readiness(state: ClusterState, now: float) -> dict[str, Any]:
    """Whether everything is at work, and if not, why."""
    why = []
    if not state.complete:
        why.append("the state of the cluster has not arrived here yet")
    if not state.connected:
        since = "" if state.stale_since is None else f" for {max(now - state.stale_since, 0):.1f} s"
        why.append(f"the actors can't be reached{since}")
    actors = [state.roster[name] for name in sorted(state.roster)]
    why += [f"{actor.name} is being started anew" for actor in actors if not actor.up]
    why += [f"{actor.name}: {actor.trouble}" for actor in actors if actor.trouble]
    return {
        "ready": not why,
        "why": why,
        # While it holds no agent is declared lost: too many are away at once.
        "brake": state.brake,
        "brake_released": state.desired.brake_release is not None,
        "actors": [
            {"name": actor.name, "up": actor.up, "restarts": actor.restarts, "since": actor.since}
            for actor in actors
        ],
        # Who keeps dying, and when it is tried again; actors below the supervisor's own too.
        "supervision": supervision(state, now),
        # A lost one is no reason not to be ready: its agents are followed from elsewhere.
        "members": members(state),
        "version": state.version,
    }


class Version:
    """GET /api/v1/version."""

    def __init__(self, version: str) -> None:
        self._body = msgspec.json.encode({"version": version})

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"version":"…"}`."""
        resp.content_type = JSON
        resp.data = self._body

    on_head = on_get
