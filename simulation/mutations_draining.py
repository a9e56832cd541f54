"""Protections of draining, to switch off."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduling import emptying, room
from scheduling.desired import Agent, Copy, Placement
from scheduling.emptying import Emptying
from simulation.switches import Mutation, aimed


def _stays(_self: Emptying, _placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
    return copies


_REAL_CLOSED = room._closed


def _open_though_drained(agent: Agent, **link: Any) -> str:
    return _REAL_CLOSED(msgspec.structs.replace(agent, drained=False), **link)


DRAINING_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="a drained agent is emptied a few tasks at a time",
        patches=((emptying, "moving_floor", lambda _job: 0), (emptying, "parallel", lambda _job: 99)),
        profile=aimed(requests=(20, 40)),
    ),
    Mutation(
        name="a drained agent is emptied",
        patches=((Emptying, "moved", _stays),),
    ),
    Mutation(
        name="a drained agent gets no new tasks",
        patches=((room, "_closed", _open_though_drained),),
    ),
)
