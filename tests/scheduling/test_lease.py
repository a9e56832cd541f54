"""The command lease: at most one holder of a name at a time, whatever is late, lost, slow or dead."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduling.lease import (
    ASK_AGAIN_SECONDS,
    LEASE_SECONDS,
    RENEW_AFTER_SECONDS,
    SUCCESSION_SECONDS,
    Lease,
    Succession,
)

# --- the holder ---------------------------------------------------------------------------------------


def test_nothing_is_held_before_it_is_granted() -> None:
    assert not Lease().valid(0.0)


def test_a_lease_counts_from_the_question_however_late_the_answer() -> None:
    lease = Lease()
    assert lease.asks(100.0)
    lease.granted(100.0)
    assert lease.valid(100.0 + LEASE_SECONDS - 0.01)
    assert not lease.valid(100.0 + LEASE_SECONDS)


@given(st.lists(st.floats(0.0, 1000.0), min_size=1))
def test_answers_in_any_order_never_shorten_or_lengthen_it(asked_at: list[float]) -> None:
    lease = Lease()
    for at in asked_at:
        lease.granted(at)
    assert lease.until == max(asked_at) + LEASE_SECONDS


@given(st.lists(st.tuples(st.floats(0.0, 2.0), st.booleans()), max_size=60))
def test_it_is_asked_for_in_time_and_not_too_often(steps: list[tuple[float, bool]]) -> None:
    """However often it is needed: one question a second at most, none while it is fresh."""
    lease, now, asked_at = Lease(), 50.0, -1.0
    for seconds, answered in steps:
        now += seconds
        fresh = lease.valid(now) and lease.until - now > LEASE_SECONDS - RENEW_AFTER_SECONDS
        if lease.asks(now):
            assert not fresh
            assert now - asked_at >= ASK_AGAIN_SECONDS
            asked_at = now
            if answered:
                lease.granted(now)
        else:
            assert fresh or now - asked_at < ASK_AGAIN_SECONDS


def test_two_questions_may_be_lost_before_commands_have_to_pause() -> None:
    assert RENEW_AFTER_SECONDS + 2 * ASK_AGAIN_SECONDS < LEASE_SECONDS < SUCCESSION_SECONDS


# --- the granter --------------------------------------------------------------------------------------


def test_the_first_holder_is_granted_at_once() -> None:
    assert Succession().may_grant("flock-1", 0.0)


def test_a_successor_of_one_proven_dead_is_granted_at_once() -> None:
    succession = Succession()
    succession.granted("flock-1", 100.0)
    succession.ended("flock-1", proven=True)
    assert succession.may_grant("flock-1", 100.0)


def test_a_successor_of_one_that_may_live_waits_from_its_last_lease_on() -> None:
    succession = Succession()
    succession.granted("flock-1", 90.0)
    succession.granted("flock-1", 100.0)
    succession.ended("flock-1", proven=False)
    assert not succession.may_grant("flock-1", 100.0 + SUCCESSION_SECONDS - 0.01)
    assert succession.waits(["flock-1", "flock-2"], 103.0) == {"flock-1": SUCCESSION_SECONDS - 3.0}
    assert succession.may_grant("flock-1", 100.0 + SUCCESSION_SECONDS)
    assert succession.may_grant("flock-2", 100.0)


def test_nobody_waits_for_one_that_was_never_granted_anything() -> None:
    succession = Succession()
    succession.ended("flock-1", proven=False)
    assert succession.may_grant("flock-1", 0.0)


def test_the_proof_that_a_successor_is_dead_says_nothing_of_its_predecessor() -> None:
    succession = Succession()
    succession.granted("flock-1", 100.0)
    succession.ended("flock-1", proven=False)
    succession.ended("flock-1", proven=True)
    assert not succession.may_grant("flock-1", 105.0)


def test_after_an_unknown_predecessor_all_wait() -> None:
    succession = Succession()
    succession.close_all(100.0)
    assert not succession.may_grant("flock-1", 105.0)
    assert succession.over_at("flock-1") == 100.0 + SUCCESSION_SECONDS
    assert succession.may_grant("flock-1", 100.0 + SUCCESSION_SECONDS)


def test_what_is_over_is_forgotten() -> None:
    succession = Succession()
    succession.close("agent", 110.0)
    succession.tidy(109.0)
    assert not succession.may_grant("agent", 109.0)
    succession.tidy(110.0)
    assert succession.waits(["agent"], 109.0) == {}


# --- both ---------------------------------------------------------------------------------------------


class Holder(msgspec.Struct):
    """One of a row of holders of a name: its host's clock runs at its own speed, from its own zero."""

    lease: Lease
    zero: float
    speed: float
    alive: bool = True

    def clock(self, now: float) -> float:
        return self.zero + self.speed * now


# How much later each step is than the one before; what it is; and to whom (0: the present holder, 1: the one
# before) or to which of the messages on their way it happens.
STEPS = st.tuples(
    st.sampled_from([0.0, 0.1, 1.0, 2.0, 4.0]),
    st.sampled_from(["asked", "asked", "asks", "question arrives", "answer arrives", "given up", "dies"]),
    st.integers(0, 1),
)
CLOCKS = st.tuples(st.floats(-1e6, 1e6), st.sampled_from([0.8, 1.0, 1.2]))


class Row:
    """A granter, the holders that replaced each other, and the messages between them."""

    def __init__(self, clocks: list[tuple[float, float]]) -> None:
        self.succession = Succession()
        self.now = 1000.0
        self.holders = [Holder(Lease(), *clocks[0])]
        self.questions: list[tuple[Holder, float]] = []
        self.answers: list[tuple[Holder, float]] = []

    def asks(self, who: int) -> None:
        holder = self.holders[-1 - min(who, len(self.holders) - 1)]
        if holder.alive and holder.lease.asks(holder.clock(self.now)):
            self.questions.append((holder, holder.clock(self.now)))

    def question_arrives(self, which: int) -> None:
        if self.questions:
            holder, asked_at = self.questions.pop(-1 - min(which, len(self.questions) - 1))
            if holder is self.holders[-1] and self.succession.may_grant("name", self.now):
                self.succession.granted("name", self.now)
                self.answers.append((holder, asked_at))

    def answer_arrives(self, which: int) -> None:
        if self.answers:
            holder, asked_at = self.answers.pop(-1 - min(which, len(self.answers) - 1))
            holder.lease.granted(asked_at)

    def replaced(self, *, proven: bool, clock: tuple[float, float]) -> None:
        self.holders[-1].alive = not proven
        self.succession.ended("name", proven=proven)
        self.holders.append(Holder(Lease(), *clock))

    def holding(self) -> list[Holder]:
        return [each for each in self.holders if each.alive and each.lease.valid(each.clock(self.now))]


@settings(max_examples=500)
@given(st.lists(STEPS, max_size=40), st.lists(CLOCKS, min_size=2, max_size=2))
def test_never_do_two_hold_it(steps: list[tuple[float, str, int]], clocks: list[tuple[float, float]]) -> None:
    """Messages come late, in any order, or never; who was given up without proof lives on and asks; clocks
    differ by 20% in speed."""
    row = Row(clocks)
    for seconds, kind, which in steps:
        row.now += seconds
        if kind in ("asks", "asked"):
            row.asks(which)
        if kind in ("question arrives", "asked"):
            row.question_arrives(which)
        if kind in ("answer arrives", "asked"):
            row.answer_arrives(which)
        if kind in ("given up", "dies"):
            row.replaced(proven=kind == "dies", clock=clocks[len(row.holders) % 2])
        assert len(row.holding()) <= 1
