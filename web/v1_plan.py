"""`…/plan`: what a PUT of a job would do, without doing it; and the approval of exactly that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from itertools import islice
from typing import TypeVar

import falcon.asgi

from scheduling.actual import Actual
from scheduling.desired import Desired
from scheduling.job import JobConfig
from scheduling.migrating import PutJob
from scheduling.placement import Algorithm
from scheduling.plan import Plan, moved_since, plan
from web import limits
from web.cluster import Cluster
from web.encoded import ENCODER, JSON
from web.problems import HttpProblem, refused, unavailable
from web.requests_in import settle
from web.shapes import FieldChangeView, LimitsView, PlanView, TaskPlanView
from web.views import waiting_view

Made = TypeVar("Made")
# No job is ever at this version.
_NEVER = -2


class Planner:
    """Makes plans, a few at a time: a large one takes seconds, in a thread of its own."""

    def __init__(self, cluster: Cluster, algorithm: Algorithm) -> None:
        self._cluster = cluster
        self._algorithm = algorithm
        self._planning = 0

    async def plan(self, mutation: PutJob) -> Plan:
        """What this PutJob would do now. Raises HttpProblem when too many are being made."""
        version, now = self._cluster.state.version, time.time()

        def make(desired: Desired, actual: Actual) -> Plan:
            return plan(mutation, desired, actual, self._algorithm, version, now)

        return (await self.run(make))[1]

    async def run(self, make: Callable[[Desired, Actual], Made]) -> tuple[int, Made]:
        """What a rule makes of both states, and the version they are at. Raises HttpProblem as `plan`."""
        if self._planning >= limits.MOST_PLANS:
            raise unavailable(f"{limits.MOST_PLANS} plans are being made already; try again")
        self._planning += 1
        try:
            state = self._cluster.state
            # Copied here, where nothing changes them meanwhile.
            desired, actual, version = state.desired.copy(), state.actual.copy(), state.version
            return version, await asyncio.to_thread(make, desired, actual)
        finally:
            self._planning -= 1

    async def approved(self, config: JobConfig, token: str, expected: int | None, name: str) -> PutJob:
        """The PutJob that does what the plan with this token says. Raises 412 when it would do otherwise.

        `name`: the id that the client gave its request, "" for none. It may have been done already, and
        only its answer lost. So the registry is asked, under that id, for what can never be: it refuses,
        or gives the answer that it gave before.
        """
        parts = read_token(token)
        now = await self.plan(PutJob(config=config, expected=expected))
        if now.token.partition("-")[2] == parts[1]:
            return PutJob(config=config, expected=now.expected, planned=now.planned, approved=token)
        never = PutJob(config=config, expected=_NEVER, approved=token)
        if name and (await self._cluster.submit(never, name)).accepted:
            return never
        desired = self._cluster.state.desired
        moved = list(islice(moved_since(desired, config.key, parts[0]), limits.MOST_PROBLEMS))
        why = "; ".join(moved) or "the config is another one, or agents report something else"
        raise HttpProblem(412, f"this would not do any more what was approved: {why}; plan again")


class OnePlan:
    """POST /jobs/{product}/{environment}/{job}/plan."""

    def __init__(self, cluster: Cluster, planner: Planner) -> None:
        self._cluster = cluster
        self._planner = planner

    async def post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, config: JobConfig) -> None:
        """200 with the plan; what a PUT would be refused for refuses this too."""
        await settle(req, resp, self._cluster.state)
        made = await self._planner.plan(PutJob(config=config))
        if not made.answer.accepted:
            raise refused(made.answer)
        resp.set_header("Cache-Control", "no-store")
        resp.content_type = JSON
        resp.data = ENCODER.encode(plan_view(made))


def read_token(token: str) -> tuple[int, str]:
    """The version and the digest of a plan. Raises HttpProblem."""
    version, dash, digest = token.partition("-")
    if not dash or "-" in digest or not (version.isascii() and version.isdigit() and len(version) < 19):
        shown = token[: limits.LONGEST_SHOWN]
        raise HttpProblem(
            400, f"approve is {shown!r}; it must be the token of a plan, like 42-0123456789abcdef"
        )
    return int(version), digest


def plan_view(made: Plan) -> PlanView:
    """A plan as it is shown."""
    numbers = made.limits
    return PlanView(
        result=made.answer.result,  # type: ignore[arg-type] # the refusals have been raised
        message=_would(made),
        hash=made.answer.hash,
        token=made.token,
        version=made.version,
        fields=[
            FieldChangeView(field=each.field, before=each.before, after=each.after) for each in made.fields
        ],
        limits=LimitsView(
            strategy=numbers.strategy,
            max_parallel=numbers.max_parallel,
            floor=numbers.floor,
            ceiling=numbers.ceiling,
        )
        if numbers is not None
        else None,
        tasks=[TaskPlanView(task=each.task, action=each.action, agent=each.agent) for each in made.tasks],
        waiting=[view for each in made.waiting if (view := waiting_view(each)) is not None],
        left_out=[view for each in made.left_out if (view := waiting_view(each)) is not None],
        complete=made.complete,
    )


def _would(made: Plan) -> str:
    """What the registry would have said, in the conditional."""
    name = made.answer.hash
    if made.answer.result == "unchanged":
        return made.answer.message
    if made.answer.result == "created":
        return f"{made.key} would be scheduled as {name}"
    if made.limits is not None:
        return f"{made.key} would be migrated to {name}, {made.limits.strategy}"
    return f"{made.key} would be changed in place to {name}"
