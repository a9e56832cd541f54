"""Flock: owns up to `flock_size` state machines, batches for them, and makes them anew when they die."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

import msgspec
from thespian.actors import ActorExitRequest, ChildActorExited

from actors.base import HarpoonActor
from actors.hosts import boot_seconds, is_remote, meets
from actors.messages import Broadcast, Commands, Follow, LeaseGrant, LeaseRequest, Topic
from actors.nursery import FIRST_WORD_SECONDS, Nursery
from actors.sharing import forget_lookups
from actors.state_machine import StateMachine
from config.bounds import MACHINES_STARTING
from scheduling.actual import AGENT, CONTAINER, NURSERY, ActualReplica, AgentStatus
from scheduling.busy import BUSY_SECONDS, BusyMachines
from scheduling.commands import Batch
from scheduling.lease import ASK_AGAIN_SECONDS, LEASE_SECONDS, SUCCESSION_SECONDS, Lease, Succession
from scheduling.replica import Changes

# A flock on another host than its shepherd ends when it has been granted nothing for so long: it is cut off,
# or its shepherd is dead. Longer than a successor has to wait for its first lease.
ALONE_SECONDS = SUCCESSION_SECONDS + LEASE_SECONDS
# Held for a state machine that has asked for a lease and nothing else.
NO_COMMANDS = Batch(commands={}, configs={})


class Flock(HarpoonActor):
    """Merges what its state machines say, and broadcasts it to the shepherd.

    Its lease to command comes from the shepherd, and is handed on with commands and acknowledgements. It is
    asked for when there is something to command, and renewed while containers change: idle, it costs nothing.
    On another host than the shepherd's it is renewed all the time: so each knows that the other is there.
    """

    topic: ClassVar[Topic] = "actual"
    tick_seconds: ClassVar[float | None] = None
    heartbeat_seconds: ClassVar[float | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: dict[str, str] = {}
        self.machines = Nursery(self, StateMachine, MACHINES_STARTING)
        self.replicas: dict[str, ActualReplica] = {}
        self.shepherd: Any = None
        self.lease = Lease()
        self.turns = Succession()
        # By agent: commands that wait for a lease, or for the state machine.
        self.held: dict[str, Batch] = {}
        self.busy = BusyMachines()
        self._followed_at = 0.0

    @staticmethod
    def actorSystemCapabilityCheck(capabilities: dict[str, Any], requirements: dict[str, Any]) -> bool:
        """Whether a flock may be made on a host: the one that the shepherd has chosen."""
        return meets(capabilities, requirements)

    def receiveMsg_Follow(self, message: Follow, sender: Any) -> None:
        """From the shepherd: these agents, and no others, are ours."""
        if self.settings is None:
            forget_lookups()
            self.settings, self.shepherd = message.settings, sender
            self.publisher.epoch = message.epoch
            self._followed_at = boot_seconds()
            self.broadcast_to(sender)
            self._keep_in_touch(self._followed_at)
        for agent in [name for name in self.endpoints if message.agents.get(name) != self.endpoints[name]]:
            self._release(agent)
        changes: Changes = {}
        now = boot_seconds()
        self.turns.tidy(now)
        for agent, endpoint in message.agents.items():
            if agent not in self.endpoints:
                self.endpoints[agent], self.replicas[agent] = endpoint, ActualReplica()
                self.turns.close(agent, now + message.waits.get(agent, 0.0))
                changes[AGENT, agent] = AgentStatus(
                    name=agent, endpoint=endpoint, link="connecting", answered=False, since=time.time()
                )
                self.machines.wait_for_turn(agent)
        self._make_due()
        self.publisher.publish(changes)

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """From a state machine: merge what changed, and pass it on."""
        agent = self.machines.heard_from(sender, message.update.epoch)
        if agent is None:
            return
        now = boot_seconds()
        if any(key[0] == CONTAINER for key in message.update.changes):
            self._renew(now)
            self.busy.is_free(agent)
        self.publisher.publish(
            self.take_from_child(message, sender, self.replicas[agent], self._lease_for(agent, now))
        )
        self._make_due()
        if self.held:
            self._pass_on()

    def receiveMsg_Commands(self, message: Commands, sender: Any) -> None:
        """From the shepherd: pass on to each state machine its part, once we have a lease."""
        if sender == self.shepherd:
            self.lease.extend(message.lease_until)
        for agent in message.batch.commands:
            part = message.batch.part({agent})
            self.held[agent] = self.held[agent].then(part) if agent in self.held else part
        self._pass_on()

    def receiveMsg_LeaseRequest(self, _message: LeaseRequest, sender: Any) -> None:
        """From a state machine, whose lease has run out and that has something to send."""
        agent = self.machines.name_of(sender)
        if agent is not None:
            self.held.setdefault(agent, NO_COMMANDS)
            self.busy.is_free(agent)
            self._pass_on()

    def receiveMsg_LeaseGrant(self, message: LeaseGrant, sender: Any) -> None:
        """From the shepherd: we are its flock, and may command."""
        if sender == self.shepherd and message.holder == self.publisher.epoch:
            self.lease.granted(message.asked_at)
            self._pass_on()

    def _pass_on(self) -> None:
        """Hand what is held to the state machines that may command now; the rest waits."""
        now = boot_seconds()
        if self.held:
            self._renew(now)
        for agent in list(self.held):
            if not self.busy.has_room(now):
                break
            until = self._lease_for(agent, now) if not self.busy.is_busy(agent, now) else 0.0
            if until:
                batch, machine = self.held.pop(agent), self.machines.address_of(agent)
                if machine is not None:
                    self.busy.commanded(agent, now)
                    self.send(machine, Commands(batch=batch, lease_until=until))
        if self.held:
            self.wake_within(BUSY_SECONDS)

    def _renew(self, now: float) -> None:
        if self.lease.asks(now):
            self.send(self.shepherd, LeaseRequest(holder=self.publisher.epoch, asked_at=now))

    def _keep_in_touch(self, now: float) -> None:
        """On another host than the shepherd's: renew the lease, needed or not; alone for too long, end."""
        if not is_remote(self.shepherd):
            return
        if now - max(self._followed_at, self.lease.granted_at) > ALONE_SECONDS:
            self.log.warning("has heard nothing of its shepherd for %.0f s; ends", ALONE_SECONDS)
            os._exit(0)
        self._renew(now)
        self.wake_within(ASK_AGAIN_SECONDS)

    def _lease_for(self, agent: str, now: float) -> float:
        """Until when this agent's state machine may command; 0 for not now."""
        if not self.lease.valid(now) or not self.turns.may_grant(agent, now):
            return 0.0
        self.turns.granted(agent, now)
        return self.lease.until

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """A state machine died: what it said is unknown from now on, until its successor's agent answers."""
        agent = self.machines.lost(message.childAddress)
        if agent is not None:
            self._ended(agent, proven=True)
        status = self.publisher.state.get((AGENT, agent)) if agent is not None else None
        if agent is None or status is None:
            return
        self.log.warning("the state machine of %s died; making it anew", agent)
        self.publisher.publish({(AGENT, agent): unknown(status, "its state machine is being made anew")})
        self._publish_nursery()
        self.wake_within(self.machines.next_within())

    def tick(self) -> None:
        """Make state machines anew whose pause is over, or that never came up."""
        if self.shepherd is not None:
            self._keep_in_touch(boot_seconds())
        for agent in self.machines.give_up_silent():
            self._ended(agent, proven=False)
            self.log.warning("the state machine of %s did not come up; making it anew", agent)
        self._make_due()
        self._pass_on()
        if self.machines.restarts:
            self._publish_nursery()
        if self.machines.waiting:
            self.wake_within(self.machines.next_within())
        if self.machines.awaited:
            self.wake_within(FIRST_WORD_SECONDS)

    def _make_due(self) -> None:
        """Make the state machines whose turn it is: the next ones when these have said their first word."""
        for agent in self.machines.due():
            self._follow_agent(agent)

    def _follow_agent(self, agent: str) -> None:
        if self.settings is None:
            raise AssertionError("a flock without settings")
        machine = self.machines.make(agent)
        agents, epoch = {agent: self.endpoints[agent]}, self.machines.epoch_of(agent)
        self.send(machine, Follow(agents=agents, settings=self.settings, epoch=epoch))

    def _ended(self, agent: str, *, proven: bool) -> None:
        """Its state machine is given up. One that was reaped sends nothing any more; one that was only told
        to end may be stopped, or slow, and have a lease still."""
        self.turns.ended(agent, proven=proven)
        self.held.pop(agent, None)
        self.busy.is_free(agent)

    def _publish_nursery(self) -> None:
        # By the epoch: a flock has no name of its own, and its successor begins anew.
        self.publisher.publish({(NURSERY, self.publisher.epoch): self.machines.status("state_machine")})

    def _release(self, agent: str) -> None:
        machine = self.machines.release(agent)
        if machine is not None:
            self.send(machine, ActorExitRequest())
        self._ended(agent, proven=False)
        del self.endpoints[agent]
        replica = self.replicas.pop(agent)
        self.publisher.publish(dict.fromkeys([*replica.state, (AGENT, agent)]))
        if self.machines.restarts:
            self._publish_nursery()


def unknown(status: AgentStatus, why: str) -> AgentStatus:
    """The status of an agent of which nobody knows anything fresh."""
    return msgspec.structs.replace(status, link="stale", answered=False, error=why, since=time.time())
