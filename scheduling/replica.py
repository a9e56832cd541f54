"""How a state reaches everybody who follows it: a snapshot, then changes, newest value per key.

The publisher keeps, per subscriber, the changes not sent yet, keyed so that a newer value replaces an
older one, and has one update in flight: under a burst the updates grow and their number does not
(shared rule 4 of docs/architecture.md). Stamps are `(epoch, version)`: another epoch means that the
publisher was made anew, and a version that does not follow means that something was missed; either
way the replica asks for a snapshot. Each update says which kinds of keys it is about, too: an address may
be that of a dead subscriber, who had asked for others.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import msgspec

from config.bounds import ACKNOWLEDGE_SECONDS

# A key begins with its kind: ("job", prefix), ("container", agent, task).
Key = tuple[str, ...]
# A value of None says that the key is gone.
Changes = dict[Key, Any]

# So long a subscriber is not bothered with what is in no hurry alone; it goes along with whatever else goes.
UNHURRIED_SECONDS = 2.0


class Update(msgspec.Struct, frozen=True, kw_only=True):
    """What a publisher sends: all keys in a snapshot, else those changed after `since` up to `version`.

    `kinds`: those of the subscription it is for; keys of other kinds are left out. None: all are in it.
    """

    epoch: str
    since: int
    version: int
    snapshot: bool
    changes: Changes
    kinds: frozenset[str] | None = None


class _Follower(msgspec.Struct):
    """What one subscriber has been sent, and what it is owed."""

    kinds: frozenset[str] | None
    owed: Changes
    # Whether anything of what it is owed is in a hurry.
    pressing: bool
    snapshot: bool
    acknowledged: int
    in_flight: int | None
    at: float

    def wants(self, key: Key) -> bool:
        return self.kinds is None or key[0] in self.kinds


class Publisher:
    """The sending side: holds the state and each subscriber's bookkeeping. Times are seconds, given.

    `unhurried`: the kinds of keys that may wait for others to go along with (`UNHURRIED_SECONDS`).
    """

    def __init__(self, epoch: str, unhurried: frozenset[str] = frozenset()) -> None:
        self.epoch = epoch
        self.unhurried = unhurried
        self.version = 0
        self.state: dict[Key, Any] = {}
        self._followers: dict[Hashable, _Follower] = {}

    @property
    def followers(self) -> list[Hashable]:
        """Who is subscribed."""
        return list(self._followers)

    def restore(self, version: int, state: Mapping[Key, Any]) -> None:
        """Begin with a state from elsewhere; for before the first update was sent."""
        self.version, self.state = version, dict(state)

    def publish(self, changes: Mapping[Key, Any], version: int | None = None) -> Changes:
        """Take in new values (None deletes); returns what really changed. One call is one version."""
        real = {key: value for key, value in changes.items() if self.state.get(key) != value}
        if not real and version is None:
            return real
        self.version = self.version + 1 if version is None else version
        for key, value in real.items():
            if value is None:
                del self.state[key]
            else:
                self.state[key] = value
        for follower in self._followers.values():
            if not follower.snapshot:
                news = {key: value for key, value in real.items() if follower.wants(key)}
                follower.owed.update(news)
                follower.pressing = follower.pressing or any(key[0] not in self.unhurried for key in news)
        return real

    def subscribe(self, subscriber: Hashable, now: float, kinds: frozenset[str] | None = None) -> None:
        """Start (again) with a snapshot of the given kinds of keys, of all without."""
        self._followers[subscriber] = _Follower(kinds, {}, False, True, 0, None, now)

    def unsubscribe(self, subscriber: Hashable) -> None:
        """Forget a subscriber; unknown ones are fine."""
        self._followers.pop(subscriber, None)

    def acknowledge(self, subscriber: Hashable, epoch: str, version: int, now: float) -> None:
        """The subscriber has taken in this update; any other acknowledgement is an old one, and ignored."""
        follower = self._followers.get(subscriber)
        if follower and epoch == self.epoch and follower.in_flight == version:
            follower.in_flight, follower.acknowledged, follower.at = None, version, now

    def due(self, now: float, heartbeat_seconds: float | None = None) -> list[tuple[Hashable, Update]]:
        """The updates to send now, marked as in flight; with a heartbeat also empty ones after silence."""
        updates = []
        for subscriber, follower in self._followers.items():
            if follower.in_flight is not None:
                continue
            silent = heartbeat_seconds is not None and now - follower.at >= heartbeat_seconds
            rested = now - follower.at >= UNHURRIED_SECONDS
            if follower.snapshot or follower.pressing or (follower.owed and rested) or silent:
                updates.append((subscriber, self._next_update(follower)))
                follower.in_flight, follower.at = self.version, now
        return updates

    def due_within(self, now: float) -> float | None:
        """In how many seconds `due` returns what is in no hurry; None: there is no such thing."""
        waiting = [
            follower.at + UNHURRIED_SECONDS - now
            for follower in self._followers.values()
            if follower.owed and not follower.pressing and follower.in_flight is None
        ]
        return max(min(waiting), 0.0) if waiting else None

    def expire(self, now: float, patience_seconds: float = ACKNOWLEDGE_SECONDS) -> list[Hashable]:
        """Drop those who have not acknowledged in time; they must subscribe again."""
        late = [
            subscriber
            for subscriber, follower in self._followers.items()
            if follower.in_flight is not None and now - follower.at > patience_seconds
        ]
        for subscriber in late:
            del self._followers[subscriber]
        return late

    def _next_update(self, follower: _Follower) -> Update:
        snapshot, since = follower.snapshot, follower.acknowledged
        if snapshot:
            changes = {key: value for key, value in self.state.items() if follower.wants(key)}
            since = 0
        else:
            changes = follower.owed
        follower.owed, follower.pressing, follower.snapshot = {}, False, False
        return Update(
            epoch=self.epoch,
            since=since,
            version=self.version,
            snapshot=snapshot,
            changes=changes,
            kinds=follower.kinds,
        )


class Replica:
    """The receiving side: a copy of the state, and whether it can be trusted to be whole.

    `kinds`: the kinds of keys that were subscribed to, None for all.
    """

    def __init__(self, kinds: frozenset[str] | None = None) -> None:
        self.kinds = kinds
        self.epoch = ""
        self.version = 0
        self.state: dict[Key, Any] = {}

    def receive(self, update: Update) -> Changes | None:
        """Take in an update; returns what changed, or None after a gap: subscribe again."""
        if not self.asked_for(update):
            return None
        if update.snapshot:
            gone = [key for key in self.state if key not in update.changes and not self.keeps(key, update)]
            changes = {key: value for key, value in update.changes.items() if self.state.get(key) != value}
            changes.update(dict.fromkeys(gone))
        elif update.epoch != self.epoch or update.since != self.version:
            return None
        else:
            changes = dict(update.changes)
        self.epoch, self.version = update.epoch, update.version
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        return changes

    def asked_for(self, update: Update) -> bool:
        """Whether this is what was subscribed to, and not what a dead subscriber at our address wanted."""
        return update.kinds == self.kinds

    def keeps(self, key: Key, snapshot: Update) -> bool:  # noqa: ARG002 - for those who override it
        """Whether a key that is absent from a snapshot stays as last known. Here: no."""
        return False
