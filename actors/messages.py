"""Every message between actors, grouped by who sends it. Frozen values; Thespian routes by class name.

Topics name who broadcasts: the registry `desired`, the shepherd `actual`, the scheduler `waiting`, the
supervisor `roster`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from config.settings import Settings
from scheduling.answer import Answer
from scheduling.commands import Batch
from scheduling.registry import Mutation
from scheduling.replica import Update

Topic = Literal["desired", "actual", "waiting", "roster"]
BROADCASTER: dict[Topic, str] = {
    "desired": "registry",
    "actual": "shepherd",
    "waiting": "scheduler",
    "roster": "supervisor",
}


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all messages.

    Thespian takes the text of every message, several times, for a log that is off: it must cost nothing.
    """

    def __str__(self) -> str:
        return type(self).__name__


# --- from the launcher, to the supervisor ---------------------------------------------------------


class Begin(Message, frozen=True, kw_only=True):
    """Make all actors with these settings; answered by `Begun` once every one of them has said it is up."""

    settings: Settings


# --- from the supervisor --------------------------------------------------------------------------


class Begun(Message, frozen=True, kw_only=True):
    """To the launcher: all actors are up (`error` empty), or why not."""

    pid: int
    error: str = ""


class Wire(Message, frozen=True, kw_only=True):
    """To each of its actors: the settings, and the address of each peer by name. Answered by `Wired`."""

    name: str
    settings: Settings
    peers: dict[str, Any]


# --- from an actor to the supervisor --------------------------------------------------------------


class Wired(Message, frozen=True, kw_only=True):
    """The actor is up, in this process; or it can't be (`error`), and will end."""

    name: str
    pid: int
    error: str = ""


class Troubled(Message, frozen=True, kw_only=True):
    """The actor lives, and can't do a part of its work, for this reason; empty: it can again."""

    name: str
    error: str


# --- between a broadcaster and those who follow it ------------------------------------------------


class Subscribe(Message, frozen=True, kw_only=True):
    """Send me a snapshot of this topic, and then what changes; only keys of these kinds, if given."""

    topic: Topic
    kinds: frozenset[str] | None = None


class Broadcast(Message, frozen=True, kw_only=True):
    """A snapshot or changes; the next comes once this one was acknowledged."""

    topic: Topic
    update: Update


class Acknowledge(Message, frozen=True, kw_only=True):
    """The update with this stamp has been taken in.

    A flock's to its state machines say, too, until when they may command (`actors.hosts.boot_seconds`).
    """

    topic: Topic
    epoch: str
    version: int
    lease_until: float = 0.0


# --- to the registry, from web, scheduler and discovery -------------------------------------------


class Mutate(Message, frozen=True, kw_only=True):
    """Mutations with the ids of their requests ("" where the sender never repeats one), to commit together.

    `batch` comes back with the answers, so that a late answer is not taken for another's.
    """

    batch: str
    mutations: tuple[tuple[str, Mutation], ...]


# --- to discovery, from web -----------------------------------------------------------------------


class RenewRegistrations(Message, frozen=True, kw_only=True):
    """These agents have renewed their registrations since the last such message."""

    agents: tuple[str, ...]


# --- from the registry ----------------------------------------------------------------------------


class Mutated(Message, frozen=True, kw_only=True):
    """The answers, in order, after all were committed; or why nothing was (`error`)."""

    batch: str
    answers: tuple[Answer, ...]
    error: str = ""


# --- from the transformer, through the shepherd and its flocks, to the state machines -------------


class Commands(Message, frozen=True, kw_only=True):
    """Task commands for agents; each hop passes on the part of those below it.

    To a flock on the shepherd's host, and to a state machine, they say, too, until when it may command
    (`actors.hosts.boot_seconds`, common to all processes of a host; 0: nothing new). Without any commands,
    they are a flock's answer to the `LeaseRequest` of a state machine.
    """

    batch: Batch
    lease_until: float = 0.0


# --- from the shepherd to its flocks, and from a flock to its state machines ----------------------


class Follow(Message, frozen=True, kw_only=True):
    """These agents (name → endpoint), and no others, are yours to follow.

    `epoch`: that of all you broadcast; another one is not yours, but of a dead actor whose port you have.
    `waits`: in how many seconds one of them may be commanded, where a predecessor may still command it.
    """

    agents: dict[str, str]
    settings: Settings
    epoch: str
    waits: dict[str, float] = {}


class LeaseGrant(Message, frozen=True, kw_only=True):
    """To a flock: you may command; the values are those of its `LeaseRequest`."""

    holder: str
    asked_at: float


# --- from a state machine to its flock, and from a flock to the shepherd --------------------------


class LeaseRequest(Message, frozen=True, kw_only=True):
    """May I command? Not answered if not, or not yet.

    `holder` is the epoch of who asks: the answer may reach the next one at its address. `asked_at` is on the
    asker's clock (`actors.hosts.boot_seconds`), and means nothing to who answers.
    """

    holder: str
    asked_at: float


# --- from an actor to itself ----------------------------------------------------------------------


class Tick(Message, frozen=True, kw_only=True):
    """The payload of an actor's wakeup; an older generation than the current one is ignored."""

    generation: int
