"""Protections of the rules, each with a way to switch it off: the simulation must notice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from actors.base import HarpoonActor
from actors.messages import Broadcast, Commands
from actors.state_machine import StateMachine
from scheduling import executor, registry, rooms
from scheduling.actual import Actual, ActualReplica, ContainerReport
from scheduling.answer import Answer
from scheduling.commands import Batch, Command
from scheduling.copies import Copies
from scheduling.desired import Agent, Copy, Desired, Placement
from scheduling.executor import Executor
from scheduling.lifecycle import Phase
from scheduling.registry import WritePlacement
from scheduling.replica import Changes, Publisher, Replica, Update
from scheduling.room import Room, measure, need_of
from scheduling.transformer import Transformer
from simulation.disk import MemoryStore
from simulation.mutations_draining import DRAINING_MUTATIONS
from simulation.mutations_everywhere import EVERYWHERE_MUTATIONS
from simulation.mutations_lease import LEASE_MUTATIONS
from simulation.mutations_lost import LOST_MUTATIONS
from simulation.mutations_migration import MIGRATION_MUTATIONS
from simulation.scenario import Profile
from simulation.switches import Mutation, aimed

# --- the stand-ins ---

_REAL_PLACE: Callable[..., tuple[Answer, Changes]] = registry._RULES[WritePlacement]


def _place_whatever_was_expected(
    desired: Desired, mutation: WritePlacement, version: int
) -> tuple[Answer, Changes]:
    old = desired.placements.get(mutation.task)
    seen = msgspec.structs.replace(mutation, expected=old.generation if old else 0)
    return _REAL_PLACE(desired, seen, version)


def _receive_of_any_epoch(self: Replica, update: Update) -> Changes | None:
    if not update.snapshot and update.since == self.version:
        self.epoch = update.epoch
    return _REAL_RECEIVE(self, update)


_REAL_RECEIVE = Replica.receive
_REAL_HEAR = HarpoonActor.receiveMsg_Broadcast


def _hear_anybody(self: HarpoonActor, message: Broadcast, sender: Any) -> None:
    followed = self.followed.get(message.topic)
    if followed is not None and followed.broadcaster is not None:
        sender = followed.broadcaster
    _REAL_HEAR(self, message, sender)


def _absent_for_any_generation(self: Copies, placement: Placement, copy: Copy) -> bool:
    report = self.actual.report(copy.agent, placement.task)
    return (
        copy.intent == "stop"
        and isinstance(report, ContainerReport)
        and report.phase is Phase.ABSENT
        and self.actual.answered(copy.agent)
    )


_REAL_DUE = Publisher.due


def _due_without_waiting(self: Publisher, now: float, heartbeat_seconds: float | None = None) -> Any:
    for follower in self._followers.values():
        follower.in_flight = None
    return _REAL_DUE(self, now, heartbeat_seconds)


def _measure_twice(agent: Agent, desired: Desired, actual: Actual) -> Room:
    room = measure(agent, desired, actual)
    for report in actual.containers.get(agent.name, {}).values():
        if report.instance is not None and report.phase is not Phase.ABSENT:
            room.take(need_of(report.instance.config))
    return room


def _measure_only_reports(agent: Agent, _desired: Desired, actual: Actual) -> Room:
    return measure(agent, Desired(), actual)


def _take_any_command(self: StateMachine, message: Commands, _sender: Any) -> None:
    if self.mailbox is not None and message.batch.is_for(self.status.name, self.status.life):
        self.executor.command(message.batch.commands.get(self.status.name, ()), message.batch.configs)


def _answered_is_enough(self: Transformer, agent: str) -> bool:
    return self.actual.answered(agent)


_REAL_COMMAND = Executor.command


def _obey_old_commands(self: Executor, commands: Iterable[Command], configs: Mapping[str, bytes]) -> None:
    for command in commands:
        record = self._records.get(command.task)
        if record is not None and record.generation > command.generation:
            record.generation = command.generation
        if self._forgotten.get(command.task, 0) >= command.generation:
            del self._forgotten[command.task]
        _REAL_COMMAND(self, [command], configs)


_NEVER = property(lambda _self: False, lambda _self, _value: None)

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="placements are written by compare-and-set",
        patches=((registry, "_RULES", {**registry._RULES, WritePlacement: _place_whatever_was_expected}),),
        profile=aimed("scheduler", "registry hangs", requests=(15, 30)),
    ),
    Mutation(
        name="an update of another epoch is a gap",
        # The address of the sender is looked at before: a second line, which is off here too.
        patches=(
            (Replica, "receive", _receive_of_any_epoch),
            (HarpoonActor, "receiveMsg_Broadcast", _hear_anybody),
        ),
        profile=aimed("shepherd dies with late", "flock dies with late", "shepherd is killed"),
    ),
    Mutation(
        name="a follower takes in what it asked for only",
        patches=((Replica, "asked_for", lambda _self, _update: True),),
        profile=Profile(
            weights={"registry hangs": 1.0, "shepherd is killed": 1.0, "scheduler is killed": 1.0},
            lasts={"registry hangs": (6.0, 14.0)},
            agents=(2, 2),
            faults=(8, 20),
            reuse_ports=1.0,
        ),
    ),
    Mutation(
        name="a command is for one life of a state machine",
        patches=((Batch, "is_for", lambda *_: True),),
        profile=Profile(
            weights={"transformer dies with late messages": 2.0, "state machine is killed": 3.0},
            lasts={"transformer dies with late messages": (4.0, 12.0)},
            requests=(40, 60),
            faults=(20, 40),
        ),
    ),
    Mutation(
        name="a repeated request is answered from the store",
        patches=((MemoryStore, "answer", lambda _self, _request: None),),
        profile=aimed("registry"),
    ),
    Mutation(
        name="the proof of absence names its generation",
        patches=((Copies, "proven_absent", _absent_for_any_generation),),
        # Few agents, so that tasks come back to one they were on; late news, and much that fails there.
        profile=Profile(
            weights={
                "scheduler hangs": 2.0,
                "shepherd hangs": 2.0,
                "transformer hangs": 2.0,
                "flock hangs": 1.0,
                "shepherd dies with late messages": 2.0,
                "starts fail": 2.0,
                "artifacts fail": 2.0,
            },
            agents=(2, 3),
            requests=(40, 60),
            faults=(15, 30),
        ),
    ),
    Mutation(
        name="an unanswered put is doubted",
        patches=((executor, "DOUBTED", ()),),
        profile=aimed("network is", "agent hangs", requests=(20, 40)),
    ),
    Mutation(
        name="a refused put is doubted",
        patches=((executor, "REFUSED_SECONDS", -1e9),),
        profile=aimed("500 but did", requests=(40, 60)),
    ),
    Mutation(
        name="an imported job that goes early is stopped",
        patches=((registry, "unheard", lambda _desired, _changes, _version: {}),),
        profile=aimed("network is cut", "agent hangs", requests=(40, 60), imported=(3, 3, 3, 3)),
    ),
    Mutation(
        name="what was forgotten and comes back is removed",
        patches=((Executor, "_undo", lambda _self, _record: None),),
        profile=aimed("while it sends", requests=(15, 30)),
    ),
    Mutation(
        name="B is commanded only when A is gone",
        patches=((Transformer, "_may_run_elsewhere", lambda _self, _copy, _placement: False),),
        profile=aimed("old disk"),
    ),
    Mutation(
        name="nothing is placed while a holder is unknown",
        patches=((Copies, "unknown_holders", lambda _self, _job: []),),
    ),
    Mutation(
        name="what is known of a silent agent is kept",
        patches=((ActualReplica, "keeps", lambda _self, _key, _snapshot: False),),
    ),
    Mutation(
        name="one update is in flight",
        patches=((Publisher, "due", _due_without_waiting),),
    ),
    Mutation(
        name="a contradiction is settled by the full state",
        patches=((Executor, "contradicted", _NEVER),),
        profile=aimed("network", "connections", "crashes"),
    ),
    Mutation(
        name="a container is counted once",
        patches=((rooms, "measure", _measure_twice),),
    ),
    Mutation(
        name="placements on their way are counted",
        patches=((rooms, "measure", _measure_only_reports),),
    ),
    Mutation(
        name="no commands while the link is down",
        patches=(
            (StateMachine, "receiveMsg_Commands", _take_any_command),
            (Transformer, "_listens", _answered_is_enough),
        ),
        profile=aimed("old disk", "crashes, empty", requests=(20, 40)),
    ),
    Mutation(
        name="older commands are ignored",
        patches=((Executor, "command", _obey_old_commands),),
        profile=aimed("transformer dies with late", requests=(20, 40)),
    ),
    *LOST_MUTATIONS,
    *LEASE_MUTATIONS,
    *MIGRATION_MUTATIONS,
    *DRAINING_MUTATIONS,
    *EVERYWHERE_MUTATIONS,
)


def protection(name: str) -> Mutation:
    """The switch of this name."""
    return next(each for each in MUTATIONS if each.name == name)
