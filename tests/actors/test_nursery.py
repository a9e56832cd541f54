"""The nursery: who dies is made anew after growing pauses, and what is told of that."""

from __future__ import annotations

from typing import Any

import pytest

from actors import nursery as nursery_module
from actors.nursery import Nursery
from config.bounds import LONGEST_FIRST_WORD_SECONDS, LONGEST_RESTART_SECONDS, RECOVERED_SECONDS

KIND = "state_machine"


class Parent:
    """An actor that makes children that are only numbers."""

    def __init__(self) -> None:
        self.made = 0

    def createActor(self, _kind: Any, _required: Any) -> int:  # noqa: N802 - Thespian's name
        self.made += 1
        return self.made

    def send(self, _address: Any, _message: Any) -> None:
        """They are told to end."""

    def wake_within(self, _seconds: float) -> None:
        """Nobody sleeps here."""


class Clock:
    """Time as the nursery sees it: monotonic seconds, and a day later those since 1970."""

    DAY = 86_400.0

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.DAY + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(nursery_module, "time", clock)
    return clock


def test_one_that_never_died_is_not_told_of(clock: Clock) -> None:
    nursery = Nursery(Parent(), None)
    nursery.make("n1")
    status = nursery.status(KIND)
    assert (status.kind, status.restarts, status.children) == (KIND, 0, ())


def test_deaths_and_the_next_attempt_are_told(clock: Clock) -> None:
    nursery = Nursery(Parent(), None)
    nursery.lost(nursery.make("n1"))
    [child] = nursery.status(KIND).children
    assert (child.name, child.deaths, child.next_at) == ("n1", 1, Clock.DAY + 100.1)
    clock.now += 1.0
    nursery.lost(nursery.make("n1"))
    [child] = nursery.status(KIND).children
    assert (child.deaths, child.next_at) == (2, Clock.DAY + 101.2)
    nursery.make("n1")
    [child] = nursery.status(KIND).children
    assert (child.next_at, child.made_at) == (None, Clock.DAY + 101.0)
    assert nursery.status(KIND).restarts == 2


def test_the_pause_grows_no_further_than_its_bound(clock: Clock) -> None:
    nursery = Nursery(Parent(), None)
    for _ in range(20):
        nursery.lost(nursery.make("n1"))
    [child] = nursery.status(KIND).children
    assert child.next_at == Clock.DAY + clock.now + LONGEST_RESTART_SECONDS
    nursery.make("n1")
    clock.now += RECOVERED_SECONDS + 1.0
    nursery.lost(nursery.address_of("n1"))
    assert nursery.status(KIND).children[0].deaths == 1, "it had recovered"


def test_restarts_are_counted_also_of_those_that_were_let_go(clock: Clock) -> None:
    nursery = Nursery(Parent(), None)
    nursery.lost(nursery.make("n1"))
    nursery.release("n1")
    status = nursery.status(KIND)
    assert (status.restarts, status.children) == (1, ())


def test_whoever_lives_at_an_address_now_is_found_there(clock: Clock) -> None:
    """Addresses are looked up once; but those of the dead are given to others."""
    nursery = Nursery(Parent(), None)
    first, second = nursery.make("n1"), nursery.make("n2")
    assert [nursery.name_of(first), nursery.name_of(first), nursery.name_of(second)] == ["n1", "n1", "n2"]
    nursery.lost(first)
    assert nursery.name_of(first) is None
    nursery.release("n2")
    nursery.children["n3"] = nursery_module.Child(address=second, made_at=0.0)
    assert nursery.name_of(second) == "n3"


def test_only_so_many_start_at_a_time_and_each_first_word_makes_room(clock: Clock) -> None:
    """Many processes that start at once would take longer than what a first word may take."""
    nursery = Nursery(Parent(), None, 2)
    for name in ("n1", "n2", "n3", "n4"):
        nursery.wait_for_turn(name)
    assert nursery.due() == ["n1", "n2"]
    first, second = nursery.make("n1"), nursery.make("n2")
    assert (nursery.due(), nursery.next_within()) == ([], nursery_module.FIRST_WORD_SECONDS)
    nursery.heard_from(first)
    assert (nursery.due(), nursery.next_within()) == (["n3"], 0.0)
    nursery.lost(second)
    assert nursery.due() == ["n3", "n4"], "one that died is awaited no more, and has a pause"
    assert [child.name for child in nursery.status(KIND).children] == ["n2"], "who waits is in no trouble"


def test_those_that_never_say_a_word_keep_no_place(clock: Clock) -> None:
    nursery = Nursery(Parent(), None, 1)
    for name in ("n1", "n2"):
        nursery.wait_for_turn(name)
    nursery.make("n1")
    clock.now += nursery_module.FIRST_WORD_SECONDS + 1.0
    assert nursery.give_up_silent() == ["n1"]
    assert nursery.due() == ["n2"]


def test_while_others_come_up_a_child_has_longer_for_its_first_word(clock: Clock) -> None:
    """Then its host is busy: to make it anew, or to avoid the host, would only be more to do."""
    nursery = Nursery(Parent(), None)
    nursery.make("mute")
    step = nursery_module.FIRST_WORD_SECONDS - 1.0
    for number in range(3):
        up = nursery.make(f"up{number}")
        clock.now += step
        nursery.heard_from(up)
        assert not nursery.give_up_silent()
    clock.now = nursery.children["mute"].made_at + LONGEST_FIRST_WORD_SECONDS + 1.0
    nursery.heard_from(nursery.make("up"))
    assert nursery.give_up_silent() == ["mute"], "but not for ever"


def test_who_has_come_up_before_gives_no_time_to_who_is_made_later(clock: Clock) -> None:
    nursery = Nursery(Parent(), None)
    nursery.heard_from(nursery.make("up"))
    clock.now += 100.0
    nursery.make("mute")
    clock.now += nursery_module.FIRST_WORD_SECONDS + 1.0
    nursery.heard_from(nursery.children["up"].address)  # not its first word
    assert nursery.give_up_silent() == ["mute"]
