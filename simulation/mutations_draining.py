"""Protections of draining, to switch off."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduling import moving, room, scheduler
from scheduling.desired import Agent, Copy, Desired, Placement
from scheduling.moving import Moving
from scheduling.rebalancing import EndRebalance
from simulation.switches import Mutation, aimed


def _stays(_self: Moving, _placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
    return copies


_REAL_CLOSED = room._closed


def _open_though_drained(agent: Agent, **link: Any) -> str:
    return _REAL_CLOSED(msgspec.structs.replace(agent, drained=False), **link)


def _never_ended(_desired: Desired, _now: float) -> list[EndRebalance]:
    return []


DRAINING_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="a drained agent is emptied a few tasks at a time",
        patches=((moving, "moving_floor", lambda _job: 0), (moving, "parallel", lambda _job: 99)),
        profile=aimed(requests=(20, 40)),
    ),
    Mutation(
        name="a drained agent is emptied",
        patches=((Moving, "moved", _stays),),
    ),
    Mutation(
        name="a drained agent gets no new tasks",
        patches=((room, "_closed", _open_though_drained),),
    ),
    Mutation(
        name="a rebalance ends by itself",
        patches=((scheduler, "ended_rebalance", _never_ended),),
    ),
)
