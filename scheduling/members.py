"""The hosts of a convention: which there are, and on which of them each flock should be.

One of them is the leader, where the shepherd is; the others are members. A flock should be on a host of its
agents' zone, and else where the smallest share of what a host is for is taken. It stays where it is when
another host comes, unless that is the first one of its zone with room.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

import msgspec

from config.bounds import MOST_MEMBERS

# The address of the host where the shepherd is, as those know it who are there, too.
LEADER = ""
# The address of no host.
_NOWHERE = "nowhere"


# How long a member is not used on which a flock was made that never said a word: the way from the leader to
# it may be closed, though the way back is open.
SHUNNED_SECONDS = 60.0


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What a host says of itself: its name, where it is, how many flocks it is for, and its harpoon."""

    name: str
    zone: str
    flocks: int
    version: str


class MemberStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One host of the convention. `address` is that of its actors; `offer`, what it says of itself.

    `since` is when `connected` last changed, in seconds since 1970; `trouble` says why it is not used though
    it is connected. `flocks` and `agents` count what is there now.
    """

    address: str
    offer: Offer
    leader: bool
    connected: bool
    since: float
    trouble: str = ""
    flocks: int = 0
    agents: int = 0

    @property
    def usable(self) -> bool:
        """Whether flocks may be made there."""
        return self.connected and not self.trouble


class Members:
    """All hosts by address, the leader's own among them. Times are seconds since 1970, given."""

    def __init__(self, address: str, own: Offer, now: float) -> None:
        self.own = own
        # Until when a member is not used.
        self._shunned: dict[str, float] = {}
        self.hosts = {
            LEADER: MemberStatus(address=address, offer=own, leader=True, connected=True, since=now)
        }

    def joined(self, address: str, offer: Offer, now: float) -> bool:
        """A host is there; False when it is one too many. A lost one may be forgotten for it."""
        if address not in self.hosts and len(self.hosts) > MOST_MEMBERS and not self._forget_one():
            return False
        trouble = ""
        if offer.version != self.own.version:
            trouble = f"it runs harpoon {offer.version}, and the leader {self.own.version}"
        self._shunned.pop(address, None)
        self.hosts[address] = MemberStatus(
            address=address, offer=offer, leader=False, connected=True, since=now, trouble=trouble
        )
        return True

    def left(self, address: str, now: float) -> bool:
        """A host is gone, as far as anybody can tell; False if it is none of ours, or was gone already."""
        status = self.hosts.get(address)
        if status is None or status.leader or not status.connected:
            return False
        self.hosts[address] = msgspec.structs.replace(status, connected=False, since=now, trouble="")
        self._shunned.pop(address, None)
        return True

    def shun(self, address: str, why: str, now: float) -> None:
        """Do not use a member for a while: it is there, and what is made on it is not."""
        status = self.hosts.get(address)
        if status is not None and status.usable and not status.leader:
            self.hosts[address] = msgspec.structs.replace(status, trouble=why)
            self._shunned[address] = now + SHUNNED_SECONDS

    def forgive(self, now: float) -> bool:
        """Use those again whose time is over; whether there are any."""
        forgiven = [address for address, until in self._shunned.items() if until <= now]
        for address in forgiven:
            del self._shunned[address]
            self.hosts[address] = msgspec.structs.replace(self.hosts[address], trouble="")
        return bool(forgiven)

    def count(self, at: Mapping[str, str], agents: Mapping[str, Collection[str]]) -> None:
        """Note what is on each host: `at` says where each flock is, `agents` whom it follows."""
        flocks = Counter(at.values())
        here: Counter[str] = Counter()
        for flock, host in at.items():
            here[host] += len(agents.get(flock, ()))
        for address, status in self.hosts.items():
            self.hosts[address] = msgspec.structs.replace(
                status, flocks=flocks[address], agents=here[address]
            )

    def _forget_one(self) -> bool:
        lost = [status for status in self.hosts.values() if not status.connected]
        if lost:
            del self.hosts[min(lost, key=lambda status: status.since).address]
        return bool(lost)


def places(
    zones: Mapping[str, str], at: Mapping[str, str], hosts: Mapping[str, MemberStatus]
) -> dict[str, str]:
    """Where each flock (name → zone of its agents) should be made that is not where it should be.

    `at` says where those are that have a place. A flock gets another one when it has none, when its host is
    not usable any more, and when it could be in its zone and is not. `hosts` has the leader, which takes what
    nobody else has room for.
    """
    usable = {address: status for address, status in hosts.items() if status.usable}
    found: dict[str, str] = {}
    # Who goes home makes room, which may be another's home; who is at home stays, so this comes to an end.
    while moves := _moves(zones, {**at, **found}, usable):
        found |= moves
    return found


def _moves(
    zones: Mapping[str, str], at: Mapping[str, str], usable: Mapping[str, MemberStatus]
) -> dict[str, str]:
    """What `places` finds when each flock is looked at once."""
    taken = Counter(at[flock] for flock in zones if at.get(flock, _NOWHERE) in usable)
    found: dict[str, str] = {}
    # Those with a zone first: who can be anywhere must not take their room.
    for flock, zone in sorted(zones.items(), key=lambda each: each[1] == ""):
        here = at.get(flock, _NOWHERE)
        roomy = [address for address, status in usable.items() if taken[address] < status.offer.flocks]
        near = [address for address in roomy if zone and usable[address].offer.zone == zone]
        if here in usable and (not near or usable[here].offer.zone == zone):
            continue
        there = min(near or roomy or [LEADER], key=lambda each: _share(each, usable, taken))
        taken[there] += 1
        if here in usable:
            taken[here] -= 1
        found[flock] = there
    return found


def _share(
    address: str, hosts: Mapping[str, MemberStatus], taken: Mapping[str, int]
) -> tuple[float, int, str]:
    """What is taken of a host; of two alike the one with fewer flocks counts as less, then the leader."""
    return taken[address] / hosts[address].offer.flocks, taken[address], address
