"""`/api/v1/members`: the hosts of the convention, the leader among them, and what each does."""

from __future__ import annotations

from typing import Any, Literal

import falcon.asgi
import msgspec

from scheduling.members import MemberStatus
from web.cluster import Cluster, ClusterState
from web.encoded import JSON
from web.requests_in import settle

PATH = "/api/v1/members"


class MemberView(msgspec.Struct, frozen=True, kw_only=True):
    """One host: `link` since `since` (seconds since 1970); `lost`: nobody hears of it; `refused`: see `note`.

    It has `flocks` of the `most_flocks` it is for, which follow `agents`.
    """

    name: str
    address: str
    role: Literal["leader", "member"]
    zone: str
    link: Literal["connected", "refused", "lost"]
    since: float
    flocks: int
    most_flocks: int
    agents: int
    version: str
    note: str


def members(state: ClusterState) -> list[MemberView]:
    """All hosts: the leader first, then by name."""
    return [
        _view(status)
        for status in sorted(
            state.actual.members.values(), key=lambda each: (not each.leader, each.offer.name, each.address)
        )
    ]


def _view(status: MemberStatus) -> MemberView:
    return MemberView(
        name=status.offer.name,
        address=status.address,
        role="leader" if status.leader else "member",
        zone=status.offer.zone,
        link="lost" if not status.connected else "refused" if status.trouble else "connected",
        since=status.since,
        flocks=status.flocks,
        most_flocks=status.offer.flocks,
        agents=status.agents,
        version=status.offer.version,
        note=status.trouble if status.connected else "",
    )


class Members:
    """GET /members."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"members":[Member…]}`."""
        await settle(req, resp, self._cluster.state)
        resp.set_header("Cache-Control", "no-store")
        resp.content_type = JSON
        resp.data = msgspec.json.encode({"members": members(self._cluster.state)})

    on_head = on_get


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster) -> None:
    """The route of members."""
    app.add_route(PATH, Members(cluster))
