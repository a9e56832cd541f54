"""Supervisor: creates all of the actors, wires them, and makes anew what dies. The launcher watches it."""

from __future__ import annotations

import os
import time
from typing import Any, ClassVar

import msgspec
from thespian.actors import ChildActorExited

from actors.base import HarpoonActor
from actors.discovery import Discovery
from actors.messages import Begin, Begun, Subscribe, Topic, Troubled, Wire, Wired
from actors.nursery import Nursery
from actors.registry import Registry
from actors.scheduler import Scheduler
from actors.shepherd import Shepherd
from actors.transformer import Transformer
from scheduling.replica import Changes
from scheduling.roster import ACTOR, ActorStatus

GLOBAL_NAME = "harpoon-supervisor"
ACTORS: dict[str, type] = {
    "registry": Registry,
    "shepherd": Shepherd,
    "scheduler": Scheduler,
    "transformer": Transformer,
    "discovery": Discovery,
}
# Whoever makes a supervisor must tell it to begin; one that was made by mistake ends.
BEGIN_SECONDS = 30.0


class Supervisor(HarpoonActor):
    """Broadcasts the roster: which actor is where, and how it is doing."""

    topic: ClassVar[Topic] = "roster"
    # Its heartbeat is how web notices quickly that all actors are gone.
    tick_seconds: ClassVar[float | None] = 0.5
    heartbeat_seconds: ClassVar[float | None] = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.actors = Nursery(self, None)
        self._launcher: Any = None
        self._made_at = time.monotonic()
        self._missing: set[str] = set(ACTORS)

    def receiveMsg_Begin(self, message: Begin, sender: Any) -> None:
        """Make all actors; the answer goes out when all of them are up."""
        self.settings, self._launcher = message.settings, sender
        for name, kind in ACTORS.items():
            self.actors.make(name, kind)
        self._wire()
        self._publish()
        self.wake_within(1.0)

    def receiveMsg_Subscribe(self, message: Subscribe, sender: Any) -> None:
        """Web asks for us by name, which makes a new one where there is none: that one must not stay."""
        super().receiveMsg_Subscribe(message, sender)
        if self.settings is None:
            self.wake_within(BEGIN_SECONDS)

    def receiveMsg_Wired(self, message: Wired, sender: Any) -> None:
        """An actor is up, or can't be."""
        self.actors.heard_from(sender)
        known = self.publisher.state.get((ACTOR, message.name))
        fresh = not isinstance(known, ActorStatus) or known.pid != message.pid
        # It says so again whenever it is wired anew: that is no news about what troubles it.
        troubles = {message.name: message.error} if fresh or message.error else {}
        self._publish({message.name: message.pid}, troubles)
        if message.error and self._launcher is None:
            self.log.critical("%s", message.error)
        self._missing.discard(message.name)
        if self._launcher is not None and (message.error or not self._missing):
            self.send(self._launcher, Begun(pid=os.getpid(), error=message.error))
            self._launcher = None

    def receiveMsg_Troubled(self, message: Troubled, sender: Any) -> None:
        """An actor lives, and can't do a part of its work; or can again."""
        if self.actors.name_of(sender) == message.name:
            self._publish(troubles={message.name: message.error})

    def receiveMsg_ChildActorExited(self, message: ChildActorExited, _sender: Any) -> None:
        """An actor died: make it anew, after a pause if it keeps dying."""
        name = self.actors.lost(message.childAddress)
        if name is not None:
            self.log.warning("the %s died; making it anew", name)
            self._publish()
            self.wake_within(self.actors.next_within())

    def tick(self) -> None:
        """Make actors anew whose pause is over."""
        if self.settings is None:
            if time.monotonic() - self._made_at >= BEGIN_SECONDS:
                os._exit(0)
            return
        for name in self.actors.give_up_silent():
            self.log.warning("the %s did not come up; making it anew", name)
            self._publish()
        due = self.actors.due()
        for name in due:
            self.actors.make(name, ACTORS[name])
        if due:
            self._wire()
            self._publish()
        if self.actors.waiting:
            self.wake_within(self.actors.next_within())

    def _wire(self) -> None:
        """Tell every actor where the others are. One that waits to be made is left out by none: its last
        address stays, and what is sent there is lost, as messages may be."""
        if self.settings is None:
            raise AssertionError("not begun")
        addresses = {
            name: child.address for name, child in self.actors.children.items() if child.address is not None
        }
        if len(addresses) < len(ACTORS):
            return
        peers = {**addresses, "supervisor": self.myAddress}
        for name, address in addresses.items():
            self.send(address, Wire(name=name, settings=self.settings, peers=peers))

    def _publish(self, pids: dict[str, int] | None = None, troubles: dict[str, str] | None = None) -> None:
        changes: Changes = {}
        for name, child in self.actors.children.items():
            old = self.publisher.state.get((ACTOR, name))
            pid = (pids or {}).get(name, old.pid if isinstance(old, ActorStatus) else 0)
            new = ActorStatus(
                name=name,
                address=child.address,
                pid=pid,
                restarts=child.restarts,
                since=old.since if isinstance(old, ActorStatus) else time.time(),
                up=child.address is not None,
                trouble=(troubles or {}).get(name, old.trouble if isinstance(old, ActorStatus) else ""),
                deaths=child.deaths,
                next_at=None
                if child.address is not None
                else round(time.time() + child.due_at - time.monotonic(), 3),
            )
            if isinstance(old, ActorStatus) and (old.up, old.restarts) != (new.up, new.restarts):
                new = msgspec.structs.replace(new, since=time.time())
            changes[ACTOR, name] = new
        self.publisher.publish(changes)
