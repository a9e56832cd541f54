"""The children of an actor: made by name, made anew with a growing pause when they die."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Collection, Mapping
from typing import Any

import msgspec
from thespian.actors import ActorExitRequest

from config.bounds import LONGEST_FIRST_WORD_SECONDS, RECOVERED_SECONDS
from config.bounds import LONGEST_RESTART_SECONDS as LONGEST_PAUSE_SECONDS
from scheduling.roster import ChildStatus, NurseryStatus

FIRST_PAUSE_SECONDS = 0.1


# A child that dies before it is up does not always bring a ChildActorExited: one that has said nothing for
# this long after it was made counts as dead.
FIRST_WORD_SECONDS = 10.0
# Longer than Thespian takes to notice that a member is gone, with which all that was there is given up.
TALKER_SILENT_SECONDS = 10.0


class Child(msgspec.Struct):
    """One child: its address (None while it waits to be made), and how it has been doing.

    `epoch`: its name in this life, for children that broadcast: they are told it, and give it back.
    """

    address: Any
    made_at: float
    epoch: str = ""
    heard: bool = False
    heard_at: float = 0.0
    deaths: int = 0
    restarts: int = 0
    due_at: float = 0.0


class Nursery:
    """Who of an actor's children is where. Times are monotonic seconds.

    `most_starting`: how many children that have not said a word yet `due` leaves room for. All made at once,
    they would keep each other from the CPU until the first ones count as dead.
    """

    def __init__(self, parent: Any, kind: Any, most_starting: int = sys.maxsize) -> None:
        self._parent = parent
        self._kind = kind
        self._most_starting = most_starting
        self.children: dict[str, Child] = {}
        self.restarts = 0
        # When one of them has last said its first word.
        self._came_up_at = -LONGEST_FIRST_WORD_SECONDS
        # By the text of an address, who was last found there.
        self._names: dict[str, str] = {}

    def wait_for_turn(self, name: str) -> None:
        """Have a child of this name be due, for the first time."""
        self.children.setdefault(name, Child(None, 0.0))

    def make(self, name: str, kind: Any = None, required: Mapping[str, Any] | None = None) -> Any:
        """Create the child of this name, for the first time or anew; returns its address.

        `required`: what it needs of a host, where that is not the parent's.
        """
        address = self._parent.createActor(kind or self._kind, required)
        child = self.children.setdefault(name, Child(address, time.monotonic()))
        child.address, child.made_at, child.heard = address, time.monotonic(), False
        child.epoch = os.urandom(16).hex()
        self._names = {known: other for known, other in self._names.items() if other != name}
        self._parent.wake_within(FIRST_WORD_SECONDS + 1.0)
        return address

    def heard_from(self, address: Any, epoch: str | None = None) -> str | None:
        """A child has said something, so it is up. Returns its name, None for a stranger.

        With an `epoch`, one of another epoch is a stranger, too: a message that was long on its way, from a
        dead actor whose port our child has now.
        """
        name = self.name_of(address)
        if name is None or (epoch is not None and epoch != self.children[name].epoch):
            return None
        child = self.children[name]
        now = time.monotonic()
        if not child.heard:
            self._came_up_at = now
        child.heard, child.heard_at = True, now
        return name

    def epoch_of(self, name: str) -> str:
        """The epoch that a child is to broadcast under."""
        return self.children[name].epoch

    def give_up_silent(self, talkers: Collection[str] = ()) -> list[str]:
        """Take those that never said a word for dead, and ask them to end in case they are not.

        `talkers`: those who say something all the time, so that a long silence means the same.
        """
        now = time.monotonic()
        silent = []
        for each, child in self.children.items():
            if child.address is None:
                continue
            mute = not child.heard and now > self._first_word_by(child)
            if mute or (child.heard and each in talkers and now - child.heard_at > TALKER_SILENT_SECONDS):
                silent.append(child.address)
        for address in silent:
            self._parent.send(address, ActorExitRequest())
        return [name for address in silent if (name := self.lost(address)) is not None]

    def _first_word_by(self, child: Child) -> float:
        # While others come up one after the other the host is busy, which says nothing about this one.
        latest = child.made_at + LONGEST_FIRST_WORD_SECONDS
        return min(max(child.made_at, self._came_up_at) + FIRST_WORD_SECONDS, latest)

    def address_of(self, name: str) -> Any:
        """The address of a child that lives, or None."""
        child = self.children.get(name)
        return child.address if child is not None else None

    def name_of(self, address: Any) -> str | None:
        """The name of the living child at this address."""
        text = str(address)
        known = self._names.get(text)
        if known is not None and self.address_of(known) == address:
            return known
        # Addresses of children compare equal only through the parent's address book, so they are looked
        # through, once; the text form of a local address changes once the child is up.
        name = next((name for name, child in self.children.items() if child.address == address), None)
        if name is not None:
            self._names[text] = name
        return name

    def lost(self, address: Any) -> str | None:
        """A child has died: note when it may be made anew. Returns its name, None for a stranger."""
        name = self.name_of(address)
        if name is None:
            return None
        child, now = self.children[name], time.monotonic()
        child.deaths = 1 if now - child.made_at > RECOVERED_SECONDS else child.deaths + 1
        child.restarts += 1
        self.restarts += 1
        child.address = None
        pause = FIRST_PAUSE_SECONDS * 2.0 ** min(child.deaths - 1, 10)
        child.due_at = now + min(LONGEST_PAUSE_SECONDS, pause)
        return name

    @property
    def awaited(self) -> int:
        """How many were made and have not said a word yet."""
        return sum(child.address is not None and not child.heard for child in self.children.values())

    @property
    def waiting(self) -> list[str]:
        """Those that wait to be made, or to be made anew."""
        return [name for name, child in self.children.items() if child.address is None]

    def due(self) -> list[str]:
        """Those to make now: their pause is over, and not too many are starting."""
        now = time.monotonic()
        due = [name for name in self.waiting if self.children[name].due_at <= now]
        return due[: max(self._most_starting - self.awaited, 0)] if due else []

    def next_within(self) -> float:
        """In how many seconds to look who is due; only for when some are waiting."""
        if self.awaited >= self._most_starting:
            return FIRST_WORD_SECONDS  # sooner, if one of them says its first word
        earliest = min(self.children[name].due_at for name in self.waiting)
        return max(0.0, earliest - time.monotonic())

    def status(self, kind: str) -> NurseryStatus:
        """How the children of this kind are doing, for those who watch from outside."""
        ago = time.time() - time.monotonic()  # from monotonic seconds to those since 1970
        troubled = tuple(
            ChildStatus(
                name=name,
                deaths=child.deaths,
                next_at=round(ago + child.due_at, 3) if child.address is None else None,
                made_at=round(ago + child.made_at, 3),
            )
            for name, child in self.children.items()
            if child.restarts
        )
        return NurseryStatus(kind=kind, restarts=self.restarts, children=troubled)

    def release(self, name: str) -> Any:
        """Let go of a child; returns its address if it lives."""
        child = self.children.pop(name, None)
        self._names = {known: other for known, other in self._names.items() if other != name}
        return child.address if child is not None else None
