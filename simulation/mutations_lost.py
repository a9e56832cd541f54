"""Protections for agents that are away, tasks that fail, and requests that are repeated, to switch off."""

from __future__ import annotations

from scheduling import scheduler
from scheduling.copies import Copies
from scheduling.desired import Copy, Job, Placement
from scheduling.executor import Executor
from scheduling.failures import Failures
from scheduling.lost import LostWatch
from scheduling.registry import WritePlacement
from scheduling.room import Room
from scheduling.rooms import Rooms
from scheduling.scheduler import Scheduler
from scheduling.transformer import Transformer
from simulation.switches import Mutation, aimed
from simulation.users import Asked, Users

_AWAY = ("network is cut", "agent hangs", "never comes back", "is away until it is lost")


def _copies_as_they_are(_self: Copies, _placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
    return copies


def _placed_and_the_old_ones_forgotten(self: Scheduler, task: str, room: Room) -> WritePlacement:
    placement = self.desired.placements.get(task)
    expected = placement.generation if placement is not None else 0
    return WritePlacement(task=task, expected=expected, copies=(Copy(room.agent, "run"),))


_REAL_CHOOSE = Rooms.choose


def _chosen_wherever_it_failed(
    self: Rooms, job: Job, tasks: list[str], _failures: Failures
) -> dict[str, Room]:
    return _REAL_CHOOSE(self, job, tasks, Failures())


def _stopped_is_gone(_self: Copies, _placement: Placement, copy: Copy) -> bool:
    return copy.intent == "stop"


_REAL_SEND = Users._send


def _sent_with_another_id(self: Users, asked: Asked) -> None:
    if asked.tries:
        asked.request_id += "-again"
    _REAL_SEND(self, asked)


LOST_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="the brake holds while most agents are away",
        patches=((LostWatch, "brake", lambda *_: None),),
        profile=aimed(*_AWAY, lost_after=(5.0,)),
    ),
    Mutation(
        name="an agent that is away for long is lost",
        patches=((LostWatch, "lost", lambda *_: []),),
        profile=aimed(*_AWAY),
    ),
    Mutation(
        name="an agent is lost after its tolerance",
        patches=(
            (LostWatch, "tolerance", lambda *_: 0.0),
            (LostWatch, "is_over", lambda _self, agent, *_: agent.lost_since is not None),
        ),
        profile=aimed(*_AWAY),
    ),
    Mutation(
        name="a task of a lost agent is placed elsewhere",
        patches=((Scheduler, "_needs_another_place", lambda *_, **__: False),),
        profile=aimed(*_AWAY),
    ),
    Mutation(
        name="the returned copy stays while its replacement does not run",
        patches=((Copies, "back_to_returned", _copies_as_they_are),),
        profile=aimed(*_AWAY, "agent is slow", lost_after=(5.0,)),
    ),
    Mutation(
        name="a copy that was replaced is stopped when its agent is back",
        patches=(
            (Scheduler, "_placed", _placed_and_the_old_ones_forgotten),
            (Copies, "strays", lambda *_: ()),
        ),
        profile=aimed(*_AWAY, lost_after=(5.0,)),
    ),
    Mutation(
        name="who was away waits for new commands",
        patches=((Executor, "was_away", lambda _self: None),),
        profile=aimed("is away until it is lost", "agent crashes, empty", lost_after=(5.0,)),
    ),
    Mutation(
        name="nothing is commanded on a lost agent",
        patches=((Transformer, "_is_lost", lambda *_: False),),
        profile=aimed("is away until it is lost", "agent is slow", lost_after=(5.0,)),
    ),
    Mutation(
        name="a copy leaves on proof of absence",
        patches=((Copies, "proven_absent", _stopped_is_gone),),
    ),
    Mutation(
        name="a task that its agent gave up is placed again",
        patches=((scheduler, "given_up", lambda *_: ""),),
        profile=aimed("task exits", "starts fail"),
    ),
    Mutation(
        name="a task that failed waits before it is tried again",
        patches=((Failures, "pauses", lambda *_: False),),
        profile=aimed("task exits", "starts fail"),
    ),
    Mutation(
        name="a task that failed goes elsewhere if another agent fits",
        patches=((Rooms, "choose", _chosen_wherever_it_failed),),
        profile=aimed("task exits", "starts fail"),
    ),
    Mutation(
        name="what runs without a placement is adopted",
        patches=((Copies, "adoptable", lambda *_: ()),),
    ),
    Mutation(
        name="an unanswered request is repeated with its id",
        patches=((Users, "_send", _sent_with_another_id),),
        profile=aimed("registry"),
    ),
)
