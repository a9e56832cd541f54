"""Protections of jobs with scale `all`, to switch off."""

from __future__ import annotations

import msgspec

from scheduling import everywhere
from scheduling.desired import Agent, Desired, Job
from scheduling.failures import Failures
from scheduling.room import Room
from scheduling.rooms import Rooms
from simulation.switches import Mutation, aimed

_REAL_CHOOSE = Rooms.choose


def _chosen_anywhere(self: Rooms, job: Job, tasks: list[str], failures: Failures) -> dict[str, Room]:
    return _REAL_CHOOSE(self, msgspec.structs.replace(job, places=None), tasks, failures)


def _never_has_it(_job: Job, _agent: Agent, _desired: Desired) -> bool:
    return False


def _never_left_alone(_agent: Agent, _desired: Desired, _now: float) -> bool:
    return False


_BUSY = aimed("away", "removed", requests=(20, 40))

EVERYWHERE_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="a task of scale all is placed on its own agent",
        patches=((Rooms, "choose", _chosen_anywhere),),
        profile=_BUSY,
    ),
    Mutation(
        name="who is away keeps its place",
        patches=((everywhere, "_has_it", _never_has_it),),
        profile=_BUSY,
    ),
    Mutation(
        name="a drained agent loses its place in the end",
        patches=((everywhere, "_is_left_alone", _never_left_alone),),
        profile=_BUSY,
    ),
    Mutation(
        name="a migration goes on with the agents there are",
        patches=((everywhere, "_resized", lambda *_: {}),),
        profile=_BUSY,
    ),
)
