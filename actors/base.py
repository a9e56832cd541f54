"""What all actors share: a lifeline, wiring, broadcasting, following, and waking up.

A subclass says what it broadcasts (`topic`) and follows (`follows`), takes changes in `changed`, and
does what they call for in `settle`, which runs after every message. An exception ends the actor: its
supervisor makes it anew, and it catches up by snapshot.
"""

from __future__ import annotations

import logging
import os
import random
import time
from datetime import timedelta
from typing import Any, ClassVar

from thespian.actors import ActorExitRequest, ActorTypeDispatcher, WakeupMessage

from actors.lifeline import tie_to_parent
from actors.log import make_logger
from actors.messages import (
    BROADCASTER,
    Acknowledge,
    Broadcast,
    Commands,
    Mutate,
    Mutated,
    Subscribe,
    Tick,
    Topic,
    Wire,
    Wired,
)
from actors.sharing import keep_inherited
from config.bounds import EARLY_MESSAGES
from config.settings import Settings
from scheduling.actual import SAMPLES
from scheduling.packing import ActualReader
from scheduling.replica import Changes, Publisher, Replica

HEARTBEAT_SECONDS = 2.0
SAME_MOMENT_SECONDS = 0.001
# A broadcaster silent for this long has lost us, or we its messages.
SILENCE_SECONDS = 10.0
_BUG_EXIT = 70
# What can't be handled before the actor is wired; senders repeat what is not kept.
NEEDS_WIRING = (Mutate, Mutated, Commands, Broadcast)


class CannotStartError(Exception):
    """The actor can't do its work, and making it anew would not help; the text is for the user."""


class Followed:
    """One topic that an actor follows."""

    def __init__(self, topic: Topic, kinds: frozenset[str] | None) -> None:
        self.replica: Replica = ActualReader(kinds) if topic == "actual" else Replica(kinds)
        self.broadcaster: Any = None
        self.heard_at = 0.0

    @property
    def known(self) -> bool:
        """Whether a snapshot has ever come."""
        return self.replica.epoch != ""


class HarpoonActor(ActorTypeDispatcher):  # type: ignore[misc]  # Thespian has no types
    """An actor of the picture. Times in the bookkeeping are monotonic seconds."""

    topic: ClassVar[Topic | None] = None
    follows: ClassVar[dict[Topic, frozenset[str] | None]] = {}
    tick_seconds: ClassVar[float | None] = 1.0
    heartbeat_seconds: ClassVar[float | None] = HEARTBEAT_SECONDS

    def __init__(self) -> None:
        super().__init__()
        tie_to_parent()
        keep_inherited()
        self.name = type(self).__name__.lower()
        self.random = random.Random()  # noqa: S311 - jitter and placement, not secrets
        self.settings: Settings | None = None
        self.peers: dict[str, Any] = {}
        self.followed: dict[Topic, Followed] = {
            topic: Followed(topic, kinds) for topic, kinds in self.follows.items()
        }
        self.publisher = Publisher(epoch=os.urandom(16).hex(), unhurried=SAMPLES)
        self._addresses: dict[str, Any] = {}
        self._early: list[tuple[Any, Any]] = []
        self.failed = False
        self._wake_generation = 0
        self._wake_at: float | None = None

    @property
    def log(self) -> logging.Logger:
        """Made when there is something to write: most actors of a fleet never have."""
        level = self.settings.log_level if self.settings is not None else "info"
        return make_logger(self.name, level.upper())

    # --- hooks ---

    def begin(self) -> None:
        """Called once, when the settings are known. May raise CannotStartError."""

    def changed(self, topic: Topic, changes: Changes) -> None:
        """A followed topic has changed."""

    def settle(self) -> None:
        """Do what the message just handled calls for."""

    def tick(self) -> None:
        """Called every `tick_seconds`, or when `wake_within` asked for it."""

    def watch(self) -> Any:
        """What every receiveMessage returns: a ThespianWatch, if the actor watches descriptors."""
        return None

    # --- the loop ---

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        """Handle one message, then settle and broadcast. A bug ends the actor, loudly."""
        try:
            for each, its_sender in self._after_wiring(message, sender):
                if not self.failed or isinstance(each, ActorExitRequest):
                    super().receiveMessage(each, its_sender)
            if not self.failed:
                self.settle()
                self.flush()
        except Exception:
            self.log.critical(
                "ends because of a bug, while handling %s", type(message).__name__, exc_info=True
            )
            os._exit(_BUG_EXIT)
        return self.watch()

    def _after_wiring(self, message: Any, sender: Any) -> list[tuple[Any, Any]]:
        """The messages to handle now. A peer that was wired first may write before our own `Wire` comes,
        since order is only kept per sender: what it wrote is handled right after."""
        if self.failed and not isinstance(message, ActorExitRequest):
            return []
        if self.settings is None and isinstance(message, NEEDS_WIRING):
            if len(self._early) < EARLY_MESSAGES:
                self._early.append((message, sender))
            return []
        early: list[tuple[Any, Any]] = []
        if isinstance(message, Wire):
            early, self._early = self._early, []
        return [(message, sender), *early]

    def receiveMsg_ActorExitRequest(self, _message: ActorExitRequest, _sender: Any) -> None:
        """What comes after this is no matter any more, the deaths of our children above all."""
        self.failed = True

    def receiveMsg_Wire(self, message: Wire, sender: Any) -> None:
        """Learn the settings and the peers; follow those that are new."""
        first = self.settings is None
        self.name, self.settings, self.peers = message.name, message.settings, message.peers
        if first:
            try:
                self.begin()
            except CannotStartError as error:
                self.failed = True
                self.send(sender, Wired(name=self.name, pid=os.getpid(), error=str(error)))
                # Its successor may fare better: what is in the way may be a predecessor that is just dying.
                self.send(self.myAddress, ActorExitRequest())
                return
            if self.tick_seconds is not None:
                self.wake_within(self.tick_seconds)
        for topic, followed in self.followed.items():
            if followed.broadcaster != self.peers[BROADCASTER[topic]]:
                self._follow(topic)
        self.send(sender, Wired(name=self.name, pid=os.getpid()))

    def receiveMsg_WakeupMessage(self, message: WakeupMessage, _sender: Any) -> None:
        """Tick, unless this wakeup was overtaken by an earlier one."""
        payload = message.payload
        if not isinstance(payload, Tick) or payload.generation != self._wake_generation:
            return
        self._wake_at = None
        self.tick()
        now = time.monotonic()
        for topic, followed in self.followed.items():
            if followed.broadcaster is not None and now - followed.heard_at > SILENCE_SECONDS:
                self._follow(topic)
        for subscriber in self.publisher.expire(now) if self.heartbeat_seconds is not None else ():
            self.log.warning("dropped a subscriber that did not acknowledge in time: %s", subscriber)
        if self.tick_seconds is not None:
            self.wake_within(self.tick_seconds)

    def wake_within(self, seconds: float) -> None:
        """Make sure that `tick` is called within this time."""
        at = time.monotonic() + seconds
        # A wake can't be called off: one a moment earlier would be a second one.
        if self._wake_at is not None and self._wake_at <= at + SAME_MOMENT_SECONDS:
            return
        self._wake_at = at
        self._wake_generation += 1
        self.wakeupAfter(timedelta(seconds=max(seconds, 0.0)), Tick(generation=self._wake_generation))

    # --- following ---

    def receiveMsg_Broadcast(self, message: Broadcast, sender: Any) -> None:
        """Take in an update of a followed topic."""
        followed = self.followed.get(message.topic)
        if followed is None or sender != followed.broadcaster:
            return  # meant for a dead actor whose port is ours now
        changes = followed.replica.receive(message.update)
        if changes is None:
            self._follow(message.topic)
            return
        followed.heard_at = time.monotonic()
        stamp = Acknowledge(topic=message.topic, epoch=message.update.epoch, version=message.update.version)
        self.send(sender, stamp)
        self.changed(message.topic, changes)

    def _follow(self, topic: Topic) -> None:
        followed = self.followed[topic]
        followed.broadcaster = self.peers[BROADCASTER[topic]]
        followed.heard_at = time.monotonic()
        self.send(followed.broadcaster, Subscribe(topic=topic, kinds=self.follows[topic]))

    def take_from_child(
        self, message: Broadcast, sender: Any, replica: Replica, lease_until: float = 0.0
    ) -> Changes:
        """Take in what a child broadcasts; returns what changed, to pass on as one's own."""
        update = message.update
        changes = replica.receive(update)
        stamp = Acknowledge(
            topic=message.topic, epoch=update.epoch, version=update.version, lease_until=lease_until
        )
        self.send(sender, stamp)
        return changes or {}

    # --- broadcasting ---

    def receiveMsg_Subscribe(self, message: Subscribe, sender: Any) -> None:
        """Send a snapshot, and from then on the changes."""
        if message.topic == self.topic:
            self.broadcast_to(sender, message.kinds)

    def receiveMsg_Acknowledge(self, message: Acknowledge, sender: Any) -> None:
        """The subscriber is ready for the next update."""
        self.publisher.acknowledge(str(sender), message.epoch, message.version, time.monotonic())

    def broadcast_to(self, address: Any, kinds: frozenset[str] | None = None) -> None:
        """Make this address a subscriber."""
        self._addresses[str(address)] = address
        self.publisher.subscribe(str(address), time.monotonic(), kinds)

    def flush(self) -> None:
        """Send the updates that are due."""
        if self.topic is None or self.settings is None:
            return
        now = time.monotonic()
        # Without a heartbeat the only subscriber is the parent, which never asks again: it gets a snapshot.
        for late in self.publisher.expire(now) if self.heartbeat_seconds is None else ():
            self.publisher.subscribe(late, now)
        for subscriber, update in self.publisher.due(now, self.heartbeat_seconds):
            self.send(self._addresses[str(subscriber)], Broadcast(topic=self.topic, update=update))
        within = self.publisher.due_within(now)
        if within is not None:
            self.wake_within(within)
