"""`/api/v1/rebalance`: move some tasks so that agents are more evenly full; on request, with a plan first."""

from __future__ import annotations

import hashlib
from typing import Any

import falcon.asgi
import msgspec

from config.bounds import REBALANCE_SECONDS
from scheduling.moves import Rebalance
from scheduling.plan import TOKEN_DIGITS
from scheduling.rebalance import Balance, balance
from scheduling.rebalancing import OPEN, BeginRebalance, CancelRebalance, move_state
from web.agent_requests import read_deadline
from web.cluster import Cluster, ClusterState
from web.encoded import JSON
from web.problems import HttpProblem
from web.rebalance_shapes import (
    LoadView,
    MoveView,
    PlannedMoveView,
    RebalancePlanView,
    RebalanceView,
)
from web.replies import send_answer
from web.requests_in import expected_version, request_id, settle
from web.v1_plan import Planner, read_token

PATH = "/api/v1/rebalance"


class OneRebalance:
    """GET, POST and DELETE of /rebalance."""

    def __init__(self, cluster: Cluster, planner: Planner) -> None:
        self._cluster = cluster
        self._planner = planner

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The one under way, or the last one; 404 when there was none."""
        await settle(req, resp, self._cluster.state)
        shown = rebalance_view(self._cluster.state)
        if shown is None:
            raise HttpProblem(404, f"there was no rebalance; a POST to {PATH} begins one")
        resp.set_header("Cache-Control", "no-store")
        resp.set_header("ETag", f'"{shown.version}"')
        resp.content_type = JSON
        resp.data = msgspec.json.encode(shown)

    on_head = on_get

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """202, it has begun; `?approve=TOKEN`: as planned, or 412. `{"deadline": "30m"}` is optional."""
        name = request_id(req, resp)
        seconds = await read_deadline(req)
        seconds = REBALANCE_SECONDS if seconds is None else seconds
        token = req.get_param("approve") or ""
        asked = BeginRebalance(moves=(), seconds=seconds, approved=token)
        version, made = await self._planner.run(balance)
        if token and read_token(token)[1] != _digest(made):
            # It may have been done already, and only its answer lost: without moves nothing is done now.
            given = req.get_header("Idempotency-Key")
            if given and (answer := await self._cluster.submit(asked, name)).accepted:
                send_answer(resp, answer, 202)
                return
            text = (
                f"this would not do any more what was approved at version {token.partition('-')[0]}, it is "
            )
            raise HttpProblem(412, f"{text}{version} now; plan again")
        answer = await self._cluster.submit(msgspec.structs.replace(asked, moves=made.moves), name)
        send_answer(resp, answer, 202 if answer.result == "changed" else None)

    async def on_delete(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, nothing more is moved; what is on its way arrives."""
        name = request_id(req, resp)
        row = self._cluster.state.desired.rebalance
        expected = expected_version(req, row.generation if row is not None else 0)
        send_answer(resp, await self._cluster.submit(CancelRebalance(expected=expected), name))


class OnePlan:
    """POST /rebalance/plan."""

    def __init__(self, planner: Planner, cluster: Cluster) -> None:
        self._planner = planner
        self._cluster = cluster

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200 with what would be moved; nothing is."""
        await settle(req, resp, self._cluster.state)
        version, made = await self._planner.run(balance)
        resp.set_header("Cache-Control", "no-store")
        resp.content_type = JSON
        resp.data = msgspec.json.encode(_plan_view(version, made))


def rebalance_view(state: ClusterState) -> RebalanceView | None:
    """The rebalance under way, or the last one, as it is shown."""
    row = state.desired.rebalance
    if row is None:
        return None
    moves = [
        MoveView(
            task=move.task,
            source=move.source,
            target=move.target,
            why=move.why,
            state=move_state(state.desired, move),
        )
        for move in row.moves
    ]
    left = 0 if row.over else sum(move.state in OPEN for move in moves)
    moved = sum(move.state == "moved" for move in moves)
    return RebalanceView(
        state="over" if row.over else "running",
        message=_message(row, moved, left),
        moved=moved,
        left=left,
        moves=moves,
        begun_at=row.begun_at,
        deadline_at=row.deadline_at,
        ended_at=row.ended_at,
        version=row.generation,
    )


def _message(row: Rebalance, moved: int, left: int) -> str:
    return row.reason if row.over else f"{moved} of {len(row.moves)} tasks are moved, {left} are left"


def _plan_view(version: int, made: Balance) -> RebalancePlanView:
    return RebalancePlanView(
        message=_would(made),
        token=f"{version}-{_digest(made)}",
        version=version,
        moves=[
            PlannedMoveView(task=move.task, source=move.source, target=move.target, why=move.why)
            for move in made.moves
        ],
        agents=[
            LoadView(
                agent=before.agent,
                tasks_before=before.tasks,
                tasks_after=after.tasks,
                use_before=before.use,
                use_after=after.use,
            )
            for before, after in zip(made.before, made.after, strict=True)
        ],
        left_out=list(made.left_out),
    )


def _would(made: Balance) -> str:
    if not made.moves:
        return "no move would make the agents more evenly full"
    was, will = (
        (min(load.use for load in loads), max(load.use for load in loads))
        for loads in (made.before, made.after)
    )
    count = "1 task" if len(made.moves) == 1 else f"{len(made.moves)} tasks"
    return (
        f"{count} would be moved; agents are {was[0]:.0%} to {was[1]:.0%} full, "
        f"and would be {will[0]:.0%} to {will[1]:.0%}"
    )


def _digest(made: Balance) -> str:
    content = msgspec.json.encode([(move.task, move.source, move.target) for move in made.moves])
    return hashlib.sha256(content).hexdigest()[:TOKEN_DIGITS]


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, planner: Planner) -> None:
    """The routes of rebalances."""
    app.add_route(PATH, OneRebalance(cluster, planner))
    app.add_route(PATH + "/plan", OnePlan(planner, cluster))
