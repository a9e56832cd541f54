"""How a state reaches its followers: whole, in order, one update at a time, and noticed when it is not."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from rules_made import LONG_PROPERTY, report, status

from config.bounds import ACKNOWLEDGE_SECONDS
from scheduling.actual import AGENT, CONTAINER, METRICS, ActualReplica
from scheduling.container import Metrics
from scheduling.lifecycle import Phase
from scheduling.replica import UNHURRIED_SECONDS, Changes, Key, Publisher, Replica, Update

A, B, C = ("job", "a"), ("job", "b"), ("agent", "c")
AGENTS = frozenset({"agent"})


def only(publisher: Publisher, now: float = 0.0) -> Update:
    ((_, update),) = publisher.due(now)
    return update


def test_a_subscriber_gets_a_snapshot_and_then_what_changes() -> None:
    publisher, replica = Publisher("e"), Replica()
    publisher.publish({A: 1, B: 2})
    publisher.subscribe("x", 0.0)
    first = only(publisher)
    assert (first.snapshot, first.changes, first.version) == (True, {A: 1, B: 2}, 1)
    assert replica.receive(first) == {A: 1, B: 2}
    publisher.acknowledge("x", "e", 1, 0.0)
    publisher.publish({A: None, C: 3})
    second = only(publisher)
    assert (second.snapshot, second.changes, second.since, second.version) == (False, {A: None, C: 3}, 1, 2)
    assert replica.receive(second) == {A: None, C: 3}
    assert replica.state == {B: 2, C: 3}


def test_under_a_burst_the_update_grows_and_the_newest_value_wins() -> None:
    publisher = Publisher("e")
    publisher.subscribe("x", 0.0)
    only(publisher)
    for value in range(1, 101):
        publisher.publish({A: value, B: value})
        assert publisher.due(0.0) == [], "one update is in flight at a time"
    publisher.publish({B: None})
    publisher.acknowledge("x", "e", 0, 0.0)
    assert only(publisher).changes == {A: 100, B: None}


def sampled() -> Publisher:
    """One with samples that are in no hurry; its subscriber has acknowledged the snapshot at 10 s."""
    publisher = Publisher("e", unhurried=frozenset({METRICS}))
    publisher.publish({A: 1})
    publisher.subscribe("x", 9.0)
    publisher.acknowledge("x", "e", only(publisher, 9.0).version, 10.0)
    return publisher


def test_samples_alone_wait_and_what_they_wait_for_is_known() -> None:
    publisher = sampled()
    assert publisher.due_within(10.0) is None, "nothing is owed"
    publisher.publish({(METRICS, "a"): 1})
    assert publisher.due(10.0) == []
    assert publisher.due_within(10.5) == UNHURRIED_SECONDS - 0.5
    publisher.publish({(METRICS, "a"): 2, (METRICS, "b"): 3})
    assert publisher.due(11.9) == []
    assert publisher.due_within(99.0) == 0.0
    assert only(publisher, 10.0 + UNHURRIED_SECONDS).changes == {(METRICS, "a"): 2, (METRICS, "b"): 3}
    assert publisher.due_within(13.0) is None, "it is under way"


def test_samples_go_along_with_what_is_in_a_hurry_and_with_a_snapshot() -> None:
    publisher = sampled()
    publisher.publish({(METRICS, "a"): 1})
    publisher.publish({B: 2})
    publisher.publish({(METRICS, "b"): 3})
    update = only(publisher, 10.0)
    assert update.changes == {(METRICS, "a"): 1, B: 2, (METRICS, "b"): 3}
    publisher.acknowledge("x", "e", update.version, 10.1)
    publisher.publish({(METRICS, "a"): 4})
    assert publisher.due(10.2) == [], "what was in a hurry has gone"
    publisher.subscribe("x", 10.3)
    assert only(publisher, 10.3).snapshot


def test_who_has_not_subscribed_to_samples_is_owed_none() -> None:
    publisher = Publisher("e", unhurried=frozenset({METRICS}))
    publisher.subscribe("x", 0.0, AGENTS)
    publisher.acknowledge("x", "e", only(publisher).version, 0.0)
    publisher.publish({(METRICS, "a"): 1})
    assert publisher.due(50.0) == []
    assert publisher.due_within(50.0) is None


def test_what_did_not_really_change_is_not_published() -> None:
    publisher = Publisher("e")
    assert publisher.publish({A: 1, B: None}) == {A: 1}
    assert publisher.publish({A: 1}) == {}
    assert publisher.version == 1
    assert publisher.publish({A: 1}, version=9) == {}
    assert publisher.version == 9, "a version that is given holds, whatever changed"


def test_a_follower_of_some_kinds_hears_of_those_only() -> None:
    publisher, replica = Publisher("e"), Replica(AGENTS)
    publisher.publish({A: 1, C: 1})
    publisher.subscribe("x", 0.0, AGENTS)
    assert replica.receive(only(publisher)) == {C: 1}
    publisher.acknowledge("x", "e", 1, 0.0)
    publisher.publish({A: 2})
    assert publisher.due(0.0) == []
    publisher.publish({C: 2, B: 2})
    assert replica.receive(only(publisher)) == {C: 2}, "versions it was not sent are no gap"


@pytest.mark.parametrize(("dead", "living"), [(None, AGENTS), (AGENTS, None)])
def test_what_a_dead_subscriber_asked_for_is_not_taken_in_at_its_address(
    dead: frozenset[str] | None, living: frozenset[str] | None
) -> None:
    """Both the snapshot and a change that would follow; it is noticed, and one subscribes (again)."""
    publisher, replica = Publisher("e"), Replica(living)
    publisher.publish({A: 1, C: 1})
    publisher.subscribe("x", 0.0, dead)
    assert replica.receive(only(publisher)) is None
    assert (replica.epoch, replica.state) == ("", {})
    publisher.subscribe("x", 0.0, living)
    assert replica.receive(only(publisher)) is not None
    publisher.subscribe("x", 0.0, dead)
    only(publisher)
    publisher.acknowledge("x", "e", 1, 0.0)
    publisher.publish({A: 2, C: 2})
    known = dict(replica.state)
    assert replica.receive(only(publisher)) is None
    assert replica.state == known


def test_a_gap_is_noticed_and_changes_nothing() -> None:
    replica = Replica()
    replica.receive(Update(epoch="e", since=0, version=1, snapshot=True, changes={A: 1}))
    lost = Update(epoch="e", since=2, version=3, snapshot=False, changes={A: 3})
    assert replica.receive(lost) is None
    assert (replica.state, replica.version) == ({A: 1}, 1)


def test_another_epoch_is_noticed_and_its_snapshot_replaces_everything() -> None:
    replica = Replica()
    replica.receive(Update(epoch="e", since=0, version=1, snapshot=True, changes={A: 1, B: 1}))
    other = Update(epoch="f", since=1, version=2, snapshot=False, changes={A: 2})
    assert replica.receive(other) is None
    snapshot = Update(epoch="f", since=0, version=0, snapshot=True, changes={A: 1, C: 5})
    assert replica.receive(snapshot) == {C: 5, B: None}, "only what really changed, and what is gone"
    assert (replica.epoch, replica.version, replica.state) == ("f", 0, {A: 1, C: 5})


def test_an_old_acknowledgement_is_ignored() -> None:
    publisher = Publisher("e")
    publisher.publish({A: 1})
    publisher.subscribe("x", 0.0)
    only(publisher)
    publisher.publish({A: 2})
    for epoch, version in (("e", 0), ("e", 2), ("f", 1)):
        publisher.acknowledge("x", epoch, version, 0.0)
        assert publisher.due(0.0) == []
    publisher.acknowledge("nobody", "e", 1, 0.0)
    publisher.acknowledge("x", "e", 1, 0.0)
    assert only(publisher).since == 1


def test_who_does_not_acknowledge_in_time_is_dropped() -> None:
    publisher = Publisher("e")
    publisher.subscribe("late", 0.0)
    publisher.subscribe("idle", 0.0)
    publisher.due(10.0)
    publisher.acknowledge("idle", "e", 0, 10.0)
    assert publisher.expire(10.0 + ACKNOWLEDGE_SECONDS) == []
    assert publisher.expire(10.1 + ACKNOWLEDGE_SECONDS) == ["late"]
    assert publisher.followers == ["idle"], "who owes nothing may be silent for ever"


def test_a_heartbeat_is_an_empty_update_after_silence() -> None:
    publisher, replica = Publisher("e"), Replica()
    publisher.subscribe("x", 0.0)
    replica.receive(only(publisher))
    publisher.acknowledge("x", "e", 0, 1.0)
    publisher.publish({}, version=7)
    assert publisher.due(3.9, heartbeat_seconds=3.0) == []
    ((_, beat),) = publisher.due(4.0, heartbeat_seconds=3.0)
    assert (beat.changes, beat.since, beat.version) == ({}, 0, 7)
    assert replica.receive(beat) == {}
    assert replica.version == 7


def test_a_restored_publisher_begins_with_that_state() -> None:
    publisher = Publisher("e")
    publisher.restore(5, {A: 1})
    publisher.subscribe("x", 0.0)
    update = only(publisher)
    assert (update.version, update.changes) == (5, {A: 1})
    publisher.unsubscribe("x")
    publisher.unsubscribe("nobody")
    assert publisher.followers == []


# --- any order of things that can happen ------------------------------------------------------------

KEYS = st.sampled_from([("job", "a"), ("job", "b"), ("agent", "a"), ("agent", "b"), ("placement", "a")])
KINDS = st.none() | st.frozensets(st.sampled_from(["job", "agent"]))


@dataclass
class Seat:
    """One follower: its replica, and the messages on their way in both directions, in order."""

    kinds: frozenset[str] | None
    replica: Replica
    coming: list[Update] = field(default_factory=list)
    acknowledgements: list[tuple[str, int]] = field(default_factory=list)
    unacknowledged: int = 0
    must_subscribe: bool = True

    def sees(self, state: dict[Key, int]) -> dict[Key, int]:
        return {key: value for key, value in state.items() if self.kinds is None or key[0] in self.kinds}


class Broadcasting(RuleBasedStateMachine):
    """A publisher that dies and is made anew, and followers that come late, lose messages and are slow."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs = 0
        self.publisher = Publisher("0")
        self.seats: dict[int, Seat] = {}
        self.now = 0.0

    @rule(changes=st.dictionaries(KEYS, st.none() | st.integers(0, 2), max_size=3))
    def publish(self, changes: Changes) -> None:
        self.publisher.publish(changes)

    @rule(kinds=KINDS)
    def join(self, kinds: frozenset[str] | None) -> None:
        if len(self.seats) < 3:
            self.seats[len(self.seats)] = Seat(kinds, Replica(kinds))

    @rule(number=st.integers(0, 2), kinds=KINDS)
    def die_and_another_gets_the_address(self, number: int, kinds: frozenset[str] | None) -> None:
        """Whatever is on its way still arrives, at somebody who did not ask for it."""
        old = self.seats.get(number)
        if old is not None:
            self.seats[number] = Seat(kinds, Replica(kinds), old.coming, old.acknowledgements)

    @rule(number=st.integers(0, 2))
    def subscribe_if_needed(self, number: int) -> None:
        seat = self.seats.get(number)
        if seat is not None and seat.must_subscribe:
            # What the publisher sent before is still in the channel, ahead of the snapshot.
            self.publisher.subscribe(number, self.now, seat.kinds)
            seat.must_subscribe, seat.unacknowledged = False, 0

    @rule()
    def send(self) -> None:
        for number, update in self.publisher.due(self.now, heartbeat_seconds=20.0):
            assert isinstance(number, int)
            self.seats[number].coming.append(update)
            self.seats[number].unacknowledged += 1

    @rule(number=st.integers(0, 2))
    def receive(self, number: int) -> None:
        seat = self.seats.get(number)
        if seat is None or not seat.coming:
            return
        update = seat.coming.pop(0)
        if seat.replica.receive(update) is None:
            seat.must_subscribe = True
        else:
            seat.acknowledgements.append((update.epoch, update.version))

    @rule(number=st.integers(0, 2))
    def acknowledge(self, number: int) -> None:
        seat = self.seats.get(number)
        if seat is not None and seat.acknowledgements:
            epoch, version = seat.acknowledgements.pop(0)
            self.publisher.acknowledge(number, epoch, version, self.now)
            seat.unacknowledged = max(0, seat.unacknowledged - 1)

    @rule(number=st.integers(0, 2))
    def lose_what_is_coming(self, number: int) -> None:
        if number in self.seats:
            self.seats[number].coming.clear()

    @rule(seconds=st.sampled_from([1.0, 20.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        for number in self.publisher.expire(self.now):
            assert isinstance(number, int)
            self.seats[number].must_subscribe = True

    @precondition(lambda self: self.epochs < 3)
    @rule(keep=st.booleans())
    def the_publisher_is_made_anew(self, keep: bool) -> None:
        self.epochs += 1
        old, self.publisher = self.publisher, Publisher(str(self.epochs))
        if keep:
            self.publisher.restore(old.version, old.state)
        for seat in self.seats.values():
            seat.must_subscribe = True

    @invariant()
    def never_more_than_one_update_is_in_flight(self) -> None:
        assert all(seat.unacknowledged <= 1 for seat in self.seats.values())

    @invariant()
    def who_has_acknowledged_everything_has_the_state(self) -> None:
        for number, seat in self.seats.items():
            followed = number in self.publisher.followers and not seat.must_subscribe
            stamp = (seat.replica.epoch, seat.replica.version)
            up_to_date = stamp == (self.publisher.epoch, self.publisher.version)
            if followed and up_to_date and not seat.coming and not seat.acknowledgements:
                assert seat.replica.state == seat.sees(self.publisher.state)

    def teardown(self) -> None:
        """Once nothing is lost any more, everybody has the state."""
        for _ in range(6):
            for number, seat in self.seats.items():
                if seat.must_subscribe or number not in self.publisher.followers:
                    seat.must_subscribe = True
                    self.subscribe_if_needed(number)
            self.send()
            for number, seat in self.seats.items():
                while seat.coming:
                    self.receive(number)
                while seat.acknowledgements:
                    self.acknowledge(number)
            self.now += 20.0
            for late in self.publisher.expire(self.now):
                assert isinstance(late, int)
                self.seats[late].must_subscribe = True
        for seat in self.seats.values():
            assert seat.replica.state == seat.sees(self.publisher.state)
            assert seat.replica.version == self.publisher.version


TestBroadcasting = Broadcasting.TestCase
TestBroadcasting.settings = LONG_PROPERTY


# --- unknown is not empty ---------------------------------------------------------------------------

ONE, TWO = (CONTAINER, "a", "web-0"), (CONTAINER, "a", "web-1")


def snapshot(epoch: str, changes: Changes) -> Update:
    return Update(epoch=epoch, since=0, version=1, snapshot=True, changes=changes)


def after(epoch: str, version: int, changes: Changes) -> Update:
    return Update(epoch=epoch, since=version - 1, version=version, snapshot=False, changes=changes)


@pytest.fixture
def followed() -> ActualReplica:
    """A replica that knows two containers of agent a, which has not answered in a new epoch."""
    replica = ActualReplica()
    known: Changes = {
        (AGENT, "a"): status("a"),
        (METRICS, "a"): {"web-0": Metrics(cpu_time=1)},
        ONE: report("a", "web-0"),
        TWO: report("a", "web-1"),
    }
    replica.receive(snapshot("e", known))
    changes = replica.receive(snapshot("f", {(AGENT, "a"): status("a", "connecting", answered=False)}))
    assert changes == {(AGENT, "a"): status("a", "connecting", answered=False)}
    return replica


def test_containers_of_an_agent_that_has_not_answered_stay_as_last_known(followed: ActualReplica) -> None:
    assert followed.state[ONE] == report("a", "web-0")
    assert (METRICS, "a") in followed.state
    other: Changes = {(AGENT, "b"): status("b")}
    assert followed.receive(after("f", 2, other)) == other
    assert {ONE, TWO} <= set(followed.state)


def test_once_the_agent_has_answered_what_it_does_not_report_is_gone(followed: ActualReplica) -> None:
    says: Changes = {(AGENT, "a"): status("a"), ONE: report("a", "web-0")}
    changes = followed.receive(after("f", 2, says))
    assert changes == says | {TWO: None, (METRICS, "a"): None}
    assert set(followed.state) == {(AGENT, "a"), ONE}


def test_what_was_reported_before_the_answer_is_known_again(followed: ActualReplica) -> None:
    followed.receive(after("f", 2, {ONE: report("a", "web-0", Phase.ENDED)}))
    changes = followed.receive(after("f", 3, {(AGENT, "a"): status("a")}))
    assert changes is not None
    assert changes[TWO] is None
    assert followed.state[ONE] == report("a", "web-0", Phase.ENDED)


def test_when_the_agent_is_removed_nothing_of_it_is_kept(followed: ActualReplica) -> None:
    changes = followed.receive(after("f", 2, {(AGENT, "a"): None}))
    assert changes == {(AGENT, "a"): None, ONE: None, TWO: None, (METRICS, "a"): None}
    assert followed.state == {}


def test_it_is_kept_through_many_epochs(followed: ActualReplica) -> None:
    for epoch in "ghi":
        followed.receive(snapshot(epoch, {(AGENT, "a"): status("a", "stale", answered=False)}))
        assert {ONE, TWO} <= set(followed.state)
    followed.receive(snapshot("j", {(AGENT, "a"): status("a"), TWO: report("a", "web-1")}))
    assert set(followed.state) == {(AGENT, "a"), TWO}


def test_an_agent_that_has_answered_is_believed_at_once() -> None:
    replica = ActualReplica()
    replica.receive(snapshot("e", {(AGENT, "a"): status("a"), ONE: report("a", "web-0")}))
    assert replica.receive(snapshot("f", {(AGENT, "a"): status("a")})) == {ONE: None}
