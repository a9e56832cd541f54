"""Shepherd: one interface to all agents; spreads them over flocks, and broadcasts the actual state."""

from __future__ import annotations

import time
from typing import Any, ClassVar

from thespian.actors import ActorExitRequest, ActorSystemConventionUpdate, ChildActorExited

from actors.base import HarpoonActor
from actors.flock import Flock, unknown
from actors.hosts import boot_seconds, has_members, is_remote, offer_of, own_offer, requirement
from actors.messages import Broadcast, Commands, Follow, LeaseGrant, LeaseRequest, Topic
from actors.nursery import FIRST_WORD_SECONDS, Nursery
from scheduling.actual import AGENT, MEMBER, NURSERY, ActualReplica, AgentStatus
from scheduling.desired import AGENT as DESIRED_AGENT
from scheduling.flocks import ZONE_LABEL, Flocks
from scheduling.lease import LEASE_SECONDS, Succession
from scheduling.members import Members, places
from scheduling.replica import Changes

# How long a new shepherd waits for members before it makes the first flocks: those that are there say so each
# 2 s. What they had has to wait for longer than that before it may command anyway.
GATHERING_SECONDS = 5.0


class Shepherd(HarpoonActor):
    """Makes and unmakes flocks as the agents in the registry, and the hosts to have them on, come and go."""

    topic: ClassVar[Topic] = "actual"
    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {"desired": frozenset({DESIRED_AGENT})}

    def __init__(self) -> None:
        super().__init__()
        self.flocks = Nursery(self, Flock)
        self.herd = Flocks()
        # By flock, the address of its host; none while it waits for a place.
        self.at: dict[str, str] = {}
        self.replicas: dict[str, ActualReplica] = {}
        self.leases = Succession()
        # Of agents that left a flock, and may still be commanded from there.
        self.moves = Succession()
        # Flocks that have spoken from this host: their clock is ours, and their end is certain.
        self._near: set[str] = set()
        self._reassign: set[str] = set()
        self._places_due = False
        self._gathered_at = 0.0

    def begin(self) -> None:
        """A predecessor's flocks on this host have died with it; those on others may be alive."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        self.members = Members(*own_offer(self.settings), time.time())
        if has_members(self.settings):
            now = boot_seconds()
            self.leases.close_all(now)
            self._gathered_at = now + GATHERING_SECONDS
            # Off first: Thespian may take us for a predecessor that had our port, and would tell us nothing.
            self.notifyOnSystemRegistrationChanges(False)
            self.notifyOnSystemRegistrationChanges(True)
        self._publish_members()

    # --- who is followed, and where ---

    def changed(self, topic: Topic, changes: Changes) -> None:
        """Agents came, went or moved: assign them to flocks."""
        if self.settings is None:
            raise AssertionError("wired without settings")
        known: Changes = {}
        for (_, name), agent in changes.items():
            zone = agent.labels.get(ZONE_LABEL, "") if agent is not None else ""
            if name in self.herd.of_agent and (agent is None or self.herd.is_elsewhere(name, zone)):
                known.update(self._take_out(name))
            if agent is None:
                continue
            if name not in self.herd.of_agent:
                # Known from the first broadcast on: one that is left out would count as gone, not as unknown.
                known[AGENT, name] = AgentStatus(
                    name=name, endpoint=agent.endpoint, link="connecting", answered=False, since=time.time()
                )
            flock = self.herd.put(name, agent.endpoint, zone, self.settings.flock_size)
            if flock is not None:
                self.replicas.setdefault(flock, ActualReplica())
                self._reassign.add(flock)
        self.publisher.publish(known)

    def _take_out(self, agent: str) -> Changes:
        """An agent leaves its flock; returns that all that is known of it is gone."""
        flock = self.herd.take_out(agent)
        self.moves.close(agent, self.leases.over_at(flock))
        self._reassign.add(flock)
        said = [key for key in self.replicas[flock].state if key[0] != NURSERY and key[1] == agent]
        return dict.fromkeys([*said, (AGENT, agent)])

    def receiveMsg_ActorSystemConventionUpdate(
        self, message: ActorSystemConventionUpdate, _sender: Any
    ) -> None:
        """From Thespian: another host is there, or has been silent for too long."""
        told = offer_of(message.remoteCapabilities)
        if told is None:
            return
        address, offer = told
        if not message.remoteAdded:
            if self.members.left(address, time.time()):
                self.log.warning("the member %s (%s) is lost", offer.name, address)
        elif self.members.joined(address, offer, time.time()):
            self.log.info("the member %s (%s) is there", offer.name, address)
        else:
            self.log.warning("%s (%s) is one member too many, and not used", offer.name, address)
        self._places_due = True

    def flush(self) -> None:
        """Nothing is broadcast before the agents are known."""
        if self.followed["desired"].known:
            super().flush()

    def settle(self) -> None:
        """Give flocks the hosts they should be on, and tell those whose agents changed."""
        if not (self._reassign or self._places_due) or boot_seconds() < self._gathered_at:
            return
        for flock, host in places(self.herd.zones, self.at, self.members.hosts).items():
            if flock in self.at:
                self._leave(flock)
            self.at[flock] = host
            self._reassign.add(flock)
        for flock in sorted(self._reassign):
            self._assign(flock)
        if self._reassign and self.flocks.restarts:
            self.publisher.publish({(NURSERY, "shepherd"): self.flocks.status("flock")})
        self._reassign, self._places_due = set(), False
        self._publish_members()

    def _publish_members(self) -> None:
        self.members.count(self.at, self.herd.agents)
        known: Changes = {key: None for key in self.publisher.state if key[0] == MEMBER}
        known |= {(MEMBER, status.address): status for status in self.members.hosts.values()}
        self.publisher.publish(known)

    def _leave(self, flock: str) -> None:
        """A flock is to be made on another host; where it was it ends, when it hears of it or of nobody."""
        address = self.flocks.release(flock)
        if address is not None:
            self.send(address, ActorExitRequest())
        self._ended(flock, proven=False)
        self._unknown(flock, "its flock is being made on another host")

    def _assign(self, flock: str) -> None:
        """Send a flock its agents; make it if it is not there, and end it if it has none."""
        if self.settings is None:
            return
        address = self.flocks.address_of(flock)
        agents = self.herd.agents[flock]
        if not agents:
            if address is not None:
                self.send(address, ActorExitRequest())
            self.flocks.release(flock)
            self._ended(flock, proven=False)
            self.herd.forget(flock)
            del self.at[flock]
            state = self.replicas.pop(flock).state
            self.publisher.publish({key: None for key in state if key[0] == NURSERY})
            return
        if address is None:
            if flock in self.flocks.waiting and flock not in self.flocks.due():
                return  # it is made when its pause is over
            address = self.flocks.make(flock, required=requirement(self.at[flock]))
        now = boot_seconds()
        self.moves.tidy(now)
        waits = self.moves.waits(agents, now)
        epoch = self.flocks.epoch_of(flock)
        self.send(address, Follow(agents=dict(agents), settings=self.settings, epoch=epoch, waits=waits))

    # --- between flocks and all others ---

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """The desired agents from the registry; the actual state from the flocks."""
        if message.topic != "actual":
            super().receiveMsg_Broadcast(message, sender)
            return
        flock = self.flocks.heard_from(sender, message.update.epoch)
        if flock is None:
            return
        self._spoke(flock, sender)
        changes = self.take_from_child(message, sender, self.replicas[flock])
        # Of an agent that has left it a flock knows nothing any more; its new one may have spoken already.
        self.publisher.publish(
            {
                key: value
                for key, value in changes.items()
                if key[0] == NURSERY or self.herd.of_agent.get(key[1]) == flock
            }
        )

    def receiveMsg_Commands(self, message: Commands, _sender: Any) -> None:
        """From the transformer: pass on to each flock its part."""
        by_flock: dict[str, set[str]] = {}
        for agent in message.batch.commands:
            if agent in self.herd.of_agent:
                by_flock.setdefault(self.herd.of_agent[agent], set()).add(agent)
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

    # --- whose flock lives ---

    def _spoke(self, flock: str, sender: Any) -> None:
        if flock not in self._near and not is_remote(sender):
            self._near.add(flock)

    def _ended(self, flock: str, *, proven: bool) -> None:
        """A flock is given up. `proven`: a process that was reaped on this host; when that is heard, the
        kernel has sent SIGKILL to the state machines below it. On another host, news of a death may be news
        of a broken network."""
        self.leases.ended(flock, proven=proven and flock in self._near)
        self._near.discard(flock)

    def _unknown(self, flock: str, why: str) -> None:
        """Nobody knows anything fresh of the agents of a flock."""
        statuses = {agent: self.publisher.state.get((AGENT, agent)) for agent in self.herd.agents[flock]}
        self.publisher.publish(
            {
                (AGENT, agent): unknown(status, why)
                for agent, status in statuses.items()
                if isinstance(status, AgentStatus)
            }
        )

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """A flock died, and its state machines with it: their agents are unknown until a new one answers."""
        flock = self.flocks.lost(message.childAddress)
        if flock is None:
            return
        self._ended(flock, proven=True)
        self.log.warning("%s died; making it anew", flock)
        self._unknown(flock, "its flock is being made anew")
        self.publisher.publish({(NURSERY, "shepherd"): self.flocks.status("flock")})
        self.wake_within(self.flocks.next_within())

    def tick(self) -> None:
        """Make flocks anew whose pause is over, that never came up, or on other hosts that fell silent."""
        for flock in self.flocks.give_up_silent(talkers=self.at.keys() - self._near):
            self._ended(flock, proven=False)
            if not self.flocks.children[flock].heard:
                self.members.shun(self.at[flock], "a flock that was made there said nothing", time.time())
                self._places_due = True
            self.log.warning("%s says nothing; making it anew", flock)
            self._unknown(flock, "its flock is silent, and made anew")
            self.publisher.publish({(NURSERY, "shepherd"): self.flocks.status("flock")})
        self._places_due |= self.members.forgive(time.time())
        self._reassign.update(self.flocks.due())
        waiting = [name for name in self.flocks.waiting if name not in self._reassign]
        if waiting:
            self.wake_within(self.flocks.next_within())
        if self.flocks.awaited:
            self.wake_within(FIRST_WORD_SECONDS)
