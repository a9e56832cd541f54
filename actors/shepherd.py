"""Shepherd: one interface to all agents; spreads them over flocks, and broadcasts the actual state."""

from __future__ import annotations

import itertools
import time
from typing import Any, ClassVar

from thespian.actors import ActorExitRequest, ChildActorExited

from actors.base import HarpoonActor
from actors.flock import Flock, unknown
from actors.messages import Broadcast, Commands, Follow, Topic
from actors.nursery import Nursery
from scheduling.actual import AGENT, ActualReplica, AgentStatus
from scheduling.desired import AGENT as DESIRED_AGENT
from scheduling.replica import Changes


class Shepherd(HarpoonActor):
    """Makes and unmakes flocks as the agents in the registry come and go."""

    topic: ClassVar[Topic] = "actual"
    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": frozenset({DESIRED_AGENT})}

    def __init__(self) -> None:
        super().__init__()
        self.flocks = Nursery(self, Flock)
        self.members: dict[str, dict[str, str]] = {}
        self.flock_of: dict[str, str] = {}
        self.replicas: dict[str, ActualReplica] = {}
        self._numbers = itertools.count(1)
        self._reassign: set[str] = set()

    def changed(self, topic: Topic, changes: Changes) -> None:
        """Agents came, went or moved: assign them to flocks."""
        known: Changes = {}
        for (_, name), agent in changes.items():
            flock = self.flock_of.get(name)
            if agent is not None and (AGENT, name) not in self.publisher.state:
                # Known from the first broadcast on: one that is left out would count as gone, not as unknown.
                known[AGENT, name] = AgentStatus(
                    name=name, endpoint=agent.endpoint, link="connecting", answered=False, since=time.time()
                )
            if agent is None and flock is not None:
                known[AGENT, name] = None
                del self.flock_of[name]
                del self.members[flock][name]
                self._reassign.add(flock)
            elif agent is not None:
                flock = flock or self._roomy_flock()
                if self.members[flock].get(name) != agent.endpoint:
                    self.flock_of[name] = flock
                    self.members[flock][name] = agent.endpoint
                    self._reassign.add(flock)
        self.publisher.publish(known)

    def flush(self) -> None:
        """Nothing is broadcast before the agents are known."""
        if self.followed["desired"].known:
            super().flush()

    def settle(self) -> None:
        """Tell the flocks whose agents changed."""
        for flock in sorted(self._reassign):
            self._assign(flock)
        self._reassign = set()

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """The desired agents from the registry; the actual state from the flocks."""
        if message.topic != "actual":
            super().receiveMsg_Broadcast(message, sender)
            return
        flock = self.flocks.heard_from(sender)
        if flock is not None:
            self.take_from_child(message, sender, self.replicas[flock])

    def receiveMsg_Commands(self, message: Commands, _sender: Any) -> None:
        """From the transformer: pass on to each flock its part."""
        by_flock: dict[str, set[str]] = {}
        for agent in message.batch.commands:
            if agent in self.flock_of:
                by_flock.setdefault(self.flock_of[agent], set()).add(agent)
        for flock, agents in by_flock.items():
            address = self.flocks.address_of(flock)
            if address is not None:
                self.send(address, Commands(batch=message.batch.part(agents)))

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """A flock died, and its state machines with it: their agents are unknown until a new one answers."""
        flock = self.flocks.lost(message.childAddress)
        if flock is None:
            return
        self.log.warning("%s died; making it anew", flock)
        changes: Changes = {}
        for agent in self.members[flock]:
            status = self.publisher.state.get((AGENT, agent))
            if isinstance(status, AgentStatus):
                changes[AGENT, agent] = unknown(status, "its flock is being made anew")
        self.publisher.publish(changes)
        self.wake_within(self.flocks.next_within())

    def tick(self) -> None:
        """Make flocks anew whose pause is over, or that never came up."""
        for flock in self.flocks.give_up_silent():
            self.log.warning("%s did not come up; making it anew", flock)
        self._reassign.update(self.flocks.due())
        waiting = [name for name in self.flocks.waiting if name not in self._reassign]
        if waiting:
            self.wake_within(self.flocks.next_within())

    def _roomy_flock(self) -> str:
        if self.settings is None:
            raise AssertionError("wired without settings")
        for flock, agents in self.members.items():
            if len(agents) < self.settings.flock_size:
                return flock
        flock = f"flock-{next(self._numbers)}"
        self.members[flock] = {}
        self.replicas[flock] = ActualReplica()
        return flock

    def _assign(self, flock: str) -> None:
        """Send a flock its agents; make it if it is not there, and end it if it has none."""
        if self.settings is None:
            return
        address = self.flocks.address_of(flock)
        agents = self.members[flock]
        if not agents:
            if address is not None:
                self.send(address, ActorExitRequest())
            self.flocks.release(flock)
            del self.members[flock]
            self.publisher.publish(dict.fromkeys(self.replicas.pop(flock).state))
            return
        if address is None:
            if flock in self.flocks.waiting and flock not in self.flocks.due():
                return  # it is made when its pause is over
            address = self.flocks.make(flock)
        self.send(address, Follow(agents=dict(agents), settings=self.settings))
