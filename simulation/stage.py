"""Thespian, simulated: the real actors are made, get and send messages, and die, in virtual time.

An actor of `actors/` talks to Thespian only through its `_myRef`; here that is a `Backstage`. Messages
keep their order from one sender to one target, take a while, and are lost with a target that is dead.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest, ChildActorExited, WakeupMessage, WatchMessage

from simulation.clock import Clock
from simulation.trace import Trace

DELAY_SECONDS = 0.002
# Now and then a message is slow: a busy host, a retransmission.
SLOW_SHARE, SLOW_SECONDS = 0.01, 2.0
START_SECONDS = 0.15
# So long after a death a port may be another's.
QUARANTINE_SECONDS = 5.0
# How long it takes until somebody notices that a host is cut off.
DETECTION_SECONDS = (0.05, 6.0)
# Time passes even for whoever asks for no pause at all.
SHORTEST_SLEEP_SECONDS = 0.0005


class ActorEndedError(BaseException):
    """The actor ends here, in the middle of what it does; nothing may catch this on its way."""

    def __init__(self, reason: str, *, bug: bool = False) -> None:
        super().__init__(reason)
        self.bug = bug


class Address(ActorAddress):  # type: ignore[misc]  # Thespian has no types
    """An actor's address. As with Thespian's ports, a new actor may get that of a dead one."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __str__(self) -> str:
        return f"actor:{self.port}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and other.port == self.port

    def __hash__(self) -> int:
        return self.port


class Backstage:
    """One actor's life: what Thespian does for it. The actor itself is `performer`."""

    def __init__(self, stage: Stage, address: Address, parent: Backstage | None, kind: type) -> None:
        self.stage = stage
        self.address = address
        self.serial = stage.next_serial()
        self.made_at = stage.clock.now
        self.parent = parent
        self.kind = kind.__name__
        self.alive = True
        # Its host is cut off from all others: it and its children hear only each other.
        self.cut_off = False
        self.performer: Any = None
        self.children: list[Backstage] = []
        self.held_until = 0.0
        # What has come meanwhile, in order, and whether it will be looked at.
        self.held: list[tuple[Any, Address]] = []
        self.release_due = False
        self.sends_left: int | None = None
        # Hangs for so long when a message of this kind comes, before it is handled.
        self.hangs_over: tuple[str, float] | None = None
        # Until then, what it sends takes this many seconds longer.
        self.late_until, self.late_seconds = 0.0, 0.0
        self.outbox: list[tuple[Address, Any]] = []
        self._watch_due = False

    @property
    def name(self) -> str:
        """What the actor calls itself."""
        return str(getattr(self.performer, "name", self.kind.lower()))

    # --- what Thespian's Actor calls ---

    def actor_send(self, target: Address, message: Any) -> None:
        """Goes out when the handler is done: until then nobody else is at work."""
        self.outbox.append((target, message))

    def createActor(self, kind: type, *_: Any, **__: Any) -> Address:  # noqa: N802 - Thespian's name
        """Make a child."""
        return self.stage.create(kind, self).address

    def notifyOnSystemRegistrationChanges(self, *_: Any) -> None:  # noqa: N802 - Thespian's name
        """No host comes or goes here; whether flocks are on this one is said by `Outside.remote`."""

    def wakeupAfter(self, period: timedelta, payload: Any = None) -> None:  # noqa: N802 - Thespian's name
        """Send ourselves a message later."""
        wakeup = WakeupMessage(period, payload)
        seconds = max(period.total_seconds(), SHORTEST_SLEEP_SECONDS)
        self.stage.clock.after(seconds, lambda: self.stage.perform(self, wakeup, self.address))

    # --- what the simulated network calls ---

    def wake(self, descriptor: int) -> None:
        """A watched descriptor is readable."""
        if not self._watch_due:
            self._watch_due = True
            self.stage.clock.after(0.0005, lambda: self._woken(descriptor))

    def _woken(self, descriptor: int) -> None:
        self._watch_due = False
        self.stage.perform(self, WatchMessage([descriptor]), self.address)


class Stage:
    """All actors. `after_step` is called after every message that an actor has handled."""

    def __init__(self, clock: Clock, rng: Random, trace: Trace, *, reuse_ports: bool = False) -> None:
        self.clock = clock
        self.rng = rng
        self.trace = trace
        self.acting: Backstage | None = None
        self.actors: dict[Address, Backstage] = {}
        self.after_step: Callable[[Backstage, Any, Any], None] = lambda _actor, _message, _sender: None
        self.before_step: Callable[[Backstage, Any, Any], None] = lambda _actor, _message, _sender: None
        self.on_end: Callable[[Backstage], None] = lambda _actor: None
        self.on_bug: Callable[[Backstage, str], None] = lambda _actor, _reason: None
        self.on_send: Callable[[Backstage | None, Address, Any], None] = lambda _sender, _target, _message: (
            None
        )
        # Addresses of what is not an actor: the launcher and the users.
        self.outsiders: dict[Address, Callable[[Any, Address], None]] = {}
        self._reuse_ports = reuse_ports
        self._next_port = 0
        self._serial = 0
        self._free: list[tuple[float, Address]] = []
        self._order: dict[tuple[int, Address], float] = {}

    def create(self, kind: type, parent: Backstage | None) -> Backstage:
        """Make an actor; it handles its first message once its process has started."""
        actor = Backstage(self, self._address(), parent, kind)
        outer, self.acting = self.acting, actor
        try:
            actor.performer = kind()
        finally:
            self.acting = outer
        actor.performer._myRef = actor
        actor.held_until = self.clock.now + START_SECONDS * self.rng.uniform(0.5, 2.0)
        self.actors[actor.address] = actor
        if parent is not None:
            parent.children.append(actor)
        return actor

    def next_serial(self) -> int:
        """A number that no other actor has, whatever its address."""
        self._serial += 1
        return self._serial

    def outsider(self, receive: Callable[[Any, Address], None]) -> Address:
        """An address for somebody who is not an actor."""
        address = self._address()
        self.outsiders[address] = receive
        return address

    def _address(self) -> Address:
        if self._free and self._free[0][0] <= self.clock.now:
            return self._free.pop(0)[1]
        self._next_port += 1
        return Address(self._next_port)

    def send(self, sender: Address, target: Address, message: Any, actor: Backstage | None = None) -> None:
        """Put a message on its way."""
        self.on_send(actor, target, message)
        delay = self.rng.expovariate(1.0 / DELAY_SECONDS)
        if self.rng.random() < SLOW_SHARE:
            delay += self.rng.random() * SLOW_SECONDS
        if actor is not None and actor.late_until > self.clock.now:
            delay += actor.late_seconds
        pair = (actor.serial if actor is not None else 0, target)
        at = max(self.clock.now + delay, self._order.get(pair, 0.0) + 1e-6)
        self._order[pair] = at
        self.clock.at(at, lambda: self._arrive(sender, target, message))

    def cut_off(self, actor: Backstage) -> None:
        """Let an actor live on alone with its children, while its parent is told that it is gone."""
        if actor.parent is None or not actor.parent.alive or actor.cut_off:
            return
        actor.cut_off = True
        self._tell_parent(actor, DETECTION_SECONDS)
        actor.parent = None

    def _is_cut(self, one: Address, other: Address) -> bool:
        islands = [self.actors[each] for each in (one, other) if each in self.actors]
        return one != other and any(
            island.cut_off and all(each not in island.children for each in islands) for island in islands
        )

    def _arrive(self, sender: Address, target: Address, message: Any) -> None:
        if self._is_cut(sender, target):
            self.trace.count(self.clock.now, str(target), f"is cut off from {type(message).__name__}")
            return
        outsider = self.outsiders.get(target)
        if outsider is not None:
            outsider(message, sender)
            return
        actor = self.actors.get(target)
        if actor is None:
            self.trace.count(self.clock.now, str(target), f"never gets {type(message).__name__}")
            return
        self.perform(actor, message, sender)

    def perform(self, actor: Backstage, message: Any, sender: Address) -> None:
        """Let an actor handle a message now, or when it is not held any more; in the order they came."""
        if actor.held or actor.held_until > self.clock.now:
            actor.held.append((message, sender))
            self._release(actor)
        else:
            self._handle(actor, message, sender)

    def _release(self, actor: Backstage) -> None:
        """Let it handle what has come while it was held; when it is held still, later."""
        while actor.alive and actor.held and actor.held_until <= self.clock.now:
            self._handle(actor, *actor.held.pop(0))
        if actor.alive and actor.held and not actor.release_due:
            actor.release_due = True
            self.clock.at(actor.held_until, lambda: self._released(actor))

    def _released(self, actor: Backstage) -> None:
        actor.release_due = False
        self._release(actor)

    def _handle(self, actor: Backstage, message: Any, sender: Address) -> None:
        if not actor.alive:
            return
        kind = type(message).__name__
        if actor.hangs_over is not None and actor.hangs_over[0] == kind:
            actor.held_until, actor.hangs_over = self.clock.now + actor.hangs_over[1], None
            self.trace.note(self.clock.now, actor.name, f"hangs over {kind}")
            actor.held.insert(0, (message, sender))
            self._release(actor)
            return
        self.trace.count(self.clock.now, actor.name, kind)
        if isinstance(message, ActorExitRequest):
            self.kill(actor, "told to end")
            return
        self.before_step(actor, message, sender)
        self.acting = actor
        ended: ActorEndedError | None = None
        try:
            actor.performer.receiveMessage(message, sender)
        except ActorEndedError as error:
            ended = error
        finally:
            self.acting = None
        self._empty_outbox(actor, ended)
        self.after_step(actor, message, sender)

    def _empty_outbox(self, actor: Backstage, ended: ActorEndedError | None) -> None:
        outbox, actor.outbox = actor.outbox, []
        if actor.sends_left is not None and (outbox or ended):
            outbox = outbox[: actor.sends_left]
            ended = ended or ActorEndedError("killed in the middle of a step")
        for target, message in outbox:
            self.send(actor.address, target, message, actor)
        if ended is not None:
            if ended.bug:
                self.on_bug(actor, str(ended))
            self.kill(actor, str(ended))

    def kill(self, actor: Backstage, why: str) -> None:
        """End an actor and all below it, at once; its parent is told."""
        if not actor.alive:
            return
        self.trace.note(self.clock.now, actor.name, f"ENDS: {why}")
        self._end(actor)
        if actor.parent is not None and actor.parent.alive:
            self._tell_parent(actor, (0.001, 0.05))

    def _tell_parent(self, actor: Backstage, within: tuple[float, float]) -> None:
        parent, notice = actor.parent, ChildActorExited(actor.address)
        if parent is not None:
            parent.children.remove(actor)
            self.clock.after(self.rng.uniform(*within), lambda: self.perform(parent, notice, parent.address))

    def _end(self, actor: Backstage) -> None:
        actor.alive = False
        if self.actors.get(actor.address) is actor:
            del self.actors[actor.address]
        if self._reuse_ports:
            self._free.append((self.clock.now + QUARANTINE_SECONDS, actor.address))
        for child in actor.children:
            self._end(child)
        self.on_end(actor)

    def of_kind(self, kind: str) -> list[Backstage]:
        """The living actors of a class, in the order they were made."""
        return [actor for actor in self.actors.values() if actor.kind == kind]
