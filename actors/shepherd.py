"""Shepherd: one interface to all agents; spreads them over flocks, and broadcasts the actual state."""

from __future__ import annotations

import itertools
import time
from typing import Any, ClassVar

from thespian.actors import ActorExitRequest, ChildActorExited

from actors.base import HarpoonActor
from actors.flock import Flock, unknown
from actors.hosts import boot_seconds, has_members, is_remote
from actors.messages import Broadcast, Commands, Follow, LeaseGrant, LeaseRequest, Topic
from actors.nursery import Nursery
from scheduling.actual import AGENT, NURSERY, ActualReplica, AgentStatus
from scheduling.desired import AGENT as DESIRED_AGENT
from scheduling.lease import LEASE_SECONDS, Succession
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
        self.leases = Succession()
        # Of agents that left a flock, and may still be commanded from there.
        self.moves = Succession()
        # Flocks that have spoken from this host: their clock is ours, and their end is certain.
        self._near: set[str] = set()
        self._numbers = itertools.count(1)
        self._reassign: set[str] = set()

    def begin(self) -> None:
        """A predecessor's flocks on this host have died with it; those on others may be alive."""
        if has_members():
            self.leases.close_all(boot_seconds())

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
                self.moves.close(name, self.leases.over_at(flock))
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
        if self._reassign and self.flocks.restarts:
            self.publisher.publish({(NURSERY, "shepherd"): self.flocks.status("flock")})
        self._reassign = set()

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """The desired agents from the registry; the actual state from the flocks."""
        if message.topic != "actual":
            super().receiveMsg_Broadcast(message, sender)
            return
        flock = self.flocks.heard_from(sender, message.update.epoch)
        if flock is not None:
            self._spoke(flock, sender)
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
                part = message.batch.part(agents)
                self.send(address, Commands(batch=part, lease_until=self._unasked_lease(flock)))

    def receiveMsg_LeaseRequest(self, message: LeaseRequest, sender: Any) -> None:
        """From a flock: it may command, if it is one of ours, and no predecessor of it may."""
        flock, now = self.flocks.heard_from(sender, message.holder), boot_seconds()
        if flock is None or not self.leases.may_grant(flock, now):
            return
        self._spoke(flock, sender)
        self.leases.granted(flock, now)
        self.send(sender, LeaseGrant(holder=message.holder, asked_at=message.asked_at))

    def _unasked_lease(self, flock: str) -> float:
        """Until when a flock may command that gets commands now, which saves it the question; 0 for it has to
        ask: its clock is another, or a predecessor may still command."""
        now = boot_seconds()
        if flock not in self._near or not self.leases.may_grant(flock, now):
            return 0.0
        self.leases.granted(flock, now)
        return now + LEASE_SECONDS

    def _spoke(self, flock: str, sender: Any) -> None:
        if flock not in self._near and not is_remote(sender):
            self._near.add(flock)

    def _ended(self, flock: str, *, proven: bool) -> None:
        """A flock is given up. `proven`: a process that was reaped on this host; when that is heard, the
        kernel has sent SIGKILL to the state machines below it. On another host, news of a death may be news
        of a broken network."""
        self.leases.ended(flock, proven=proven and flock in self._near)
        self._near.discard(flock)

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """A flock died, and its state machines with it: their agents are unknown until a new one answers."""
        flock = self.flocks.lost(message.childAddress)
        if flock is None:
            return
        self._ended(flock, proven=True)
        self.log.warning("%s died; making it anew", flock)
        changes: Changes = {}
        for agent in self.members[flock]:
            status = self.publisher.state.get((AGENT, agent))
            if isinstance(status, AgentStatus):
                changes[AGENT, agent] = unknown(status, "its flock is being made anew")
        changes[NURSERY, "shepherd"] = self.flocks.status("flock")
        self.publisher.publish(changes)
        self.wake_within(self.flocks.next_within())

    def tick(self) -> None:
        """Make flocks anew whose pause is over, or that never came up."""
        for flock in self.flocks.give_up_silent():
            self._ended(flock, proven=False)
            self.log.warning("%s did not come up; making it anew", flock)
            self.publisher.publish({(NURSERY, "shepherd"): self.flocks.status("flock")})
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
            self._ended(flock, proven=False)
            del self.members[flock]
            self.publisher.publish(dict.fromkeys(self.replicas.pop(flock).state))
            return
        if address is None:
            if flock in self.flocks.waiting and flock not in self.flocks.due():
                return  # it is made when its pause is over
            address = self.flocks.make(flock)
        now = boot_seconds()
        self.moves.tidy(now)
        waits = self.moves.waits(agents, now)
        epoch = self.flocks.epoch_of(flock)
        self.send(address, Follow(agents=dict(agents), settings=self.settings, epoch=epoch, waits=waits))
