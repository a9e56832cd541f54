"""Who is lost: after its tolerance, and not while, or just after, most agents are away."""

from __future__ import annotations

from typing import Any

import msgspec
from rules_made import agent, status

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import Actual
from scheduling.desired import AGENT, Desired
from scheduling.lost import BRAKE_SECONDS, RETURN_SECONDS, LostWatch

TOLERANCE = 60.0


class Fleet:
    """Agents a to e, of which some are away since a time."""

    def __init__(self) -> None:
        self.desired, self.actual = Desired(), Actual()
        self.desired.apply({(AGENT, name): agent(name) for name in "abcde"})
        self.watch = LostWatch(TOLERANCE)
        self.are("connected", "abcde", 0.0)

    def are(self, link: Any, names: str, since: float) -> None:
        """These agents are connected, or stale, since then."""
        for name in names:
            changed = msgspec.structs.replace(status(name, link=link), since=since)
            self.actual.apply({(ACTUAL_AGENT, name): changed})

    def lost(self, now: float) -> str:
        """Who is declared lost now."""
        return "".join(each.agent for each in self.watch.lost(self.desired, self.actual, now))


def test_an_agent_is_lost_after_its_tolerance() -> None:
    fleet = Fleet()
    fleet.are("stale", "a", since=100.0)
    assert fleet.lost(100.0 + TOLERANCE - 0.1) == ""
    assert fleet.lost(100.0 + TOLERANCE) == "a"


def test_none_is_lost_while_most_are_away_for_ten_minutes() -> None:
    fleet = Fleet()
    fleet.are("stale", "abc", since=100.0)
    assert fleet.lost(100.0) == ""
    assert fleet.lost(100.0 + BRAKE_SECONDS - 1.0) == ""
    assert fleet.lost(100.0 + BRAKE_SECONDS) == "abc"


def test_two_of_five_are_no_reason_to_doubt_the_network() -> None:
    fleet = Fleet()
    fleet.are("stale", "ab", since=100.0)
    assert fleet.lost(100.0 + TOLERANCE) == "ab"


def test_the_first_who_is_back_is_not_the_end_of_the_others() -> None:
    fleet = Fleet()
    fleet.are("stale", "abcd", since=100.0)
    assert fleet.lost(100.0) == ""
    assert fleet.lost(400.0) == ""
    fleet.are("connected", "ab", since=401.0)
    assert fleet.lost(401.0) == "", "the network is whole again: the others need a moment"
    fleet.are("connected", "c", since=403.0)
    assert fleet.lost(401.0 + RETURN_SECONDS - 1.0) == ""
    assert fleet.lost(401.0 + RETURN_SECONDS) == "d", "one stays away"
