"""Flock: owns up to `flock_size` state machines, batches for them, and makes them anew when they die."""

from __future__ import annotations

import time
from typing import Any, ClassVar

import msgspec
from thespian.actors import ActorExitRequest, ChildActorExited

from actors.base import HarpoonActor
from actors.messages import Broadcast, Commands, Follow, Topic
from actors.nursery import FIRST_WORD_SECONDS, Nursery
from actors.state_machine import StateMachine
from scheduling.actual import AGENT, ActualReplica, AgentStatus
from scheduling.replica import Changes


class Flock(HarpoonActor):
    """Merges what its state machines say, and broadcasts it to the shepherd."""

    topic: ClassVar[Topic] = "actual"
    tick_seconds: ClassVar[float | None] = None
    heartbeat_seconds: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, str] = {}
        self.machines = Nursery(self, StateMachine)
        self.replicas: dict[str, ActualReplica] = {}

    def receiveMsg_Follow(self, message: Follow, sender: Any) -> None:
        """From the shepherd: these agents, and no others, are ours."""
        if self.settings is None:
            self.settings = message.settings
            self.broadcast_to(sender)
        for agent in [name for name in self.endpoints if message.agents.get(name) != self.endpoints[name]]:
            self._release(agent)
        changes: Changes = {}
        for agent, endpoint in message.agents.items():
            if agent not in self.endpoints:
                self.endpoints[agent] = endpoint
                changes[AGENT, agent] = AgentStatus(
                    name=agent, endpoint=endpoint, link="connecting", answered=False, since=time.time()
                )
                self._follow_agent(agent)
        self.publisher.publish(changes)

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """From a state machine: merge what changed, and pass it on."""
        agent = self.machines.heard_from(sender)
        if agent is not None:
            self.take_from_child(message, sender, self.replicas[agent])

    def receiveMsg_Commands(self, message: Commands, _sender: Any) -> None:
        """From the shepherd: pass on to each state machine its part."""
        for agent in message.batch.commands:
            machine = self.machines.address_of(agent)
            if machine is not None:
                self.send(machine, Commands(batch=message.batch.part({agent})))

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """A state machine died: what it said is unknown from now on, until its successor's agent answers."""
        agent = self.machines.lost(message.childAddress)
        status = self.publisher.state.get((AGENT, agent)) if agent is not None else None
        if agent is None or status is None:
            return
        self.log.warning("the state machine of %s died; making it anew", agent)
        self.publisher.publish({(AGENT, agent): unknown(status, "its state machine is being made anew")})
        self.wake_within(self.machines.next_within())

    def tick(self) -> None:
        """Make state machines anew whose pause is over, or that never came up."""
        for agent in self.machines.give_up_silent():
            self.log.warning("the state machine of %s did not come up; making it anew", agent)
        for agent in self.machines.due():
            self._follow_agent(agent)
        if self.machines.waiting:
            self.wake_within(self.machines.next_within())
        if self.machines.awaited:
            self.wake_within(FIRST_WORD_SECONDS)

    def _follow_agent(self, agent: str) -> None:
        if self.settings is None:
            raise AssertionError("a flock without settings")
        self.replicas.setdefault(agent, ActualReplica())
        machine = self.machines.make(agent)
        self.send(machine, Follow(agents={agent: self.endpoints[agent]}, settings=self.settings))

    def _release(self, agent: str) -> None:
        machine = self.machines.release(agent)
        if machine is not None:
            self.send(machine, ActorExitRequest())
        del self.endpoints[agent]
        replica = self.replicas.pop(agent)
        self.publisher.publish(dict.fromkeys([*replica.state, (AGENT, agent)]))


def unknown(status: AgentStatus, why: str) -> AgentStatus:
    """The status of an agent of which nobody knows anything fresh."""
    return msgspec.structs.replace(status, link="stale", answered=False, error=why, since=time.time())
