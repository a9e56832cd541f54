"""Who counts as lost: tolerance, brake, and an operator's word against both."""

from __future__ import annotations

import msgspec
import pytest
from rules_made import agent, job_config, placement, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import Actual, AgentStatus
from scheduling.desired import AGENT, FLEET, JOB, PLACEMENT, RELEASE, Agent, BrakeRelease, Desired
from scheduling.durations import Duration
from scheduling.job import OnLost, task_id
from scheduling.lost import BRAKE_SECONDS, LostWatch, ended_release, returned
from scheduling.presence import EndRelease, MarkLost

TOLERANCE = 60.0
NAMES = "abcd"


def desired(**agents: Agent) -> Desired:
    """Four agents, some of them as given."""
    state = Desired()
    state.apply({(AGENT, name): agents.get(name, agent(name)) for name in NAMES})
    return state


def released(state: Desired, version: int = 7) -> Desired:
    state.apply({(FLEET, RELEASE): BrakeRelease(version=version)})
    return state


def away(*names: str, since: float = 0.0) -> Actual:
    """All are connected but these."""
    state = Actual()
    for name in NAMES:
        one: AgentStatus = status(name, "stale" if name in names else "connected")
        state.apply({(ACTUAL_AGENT, name): msgspec.structs.replace(one, since=since)})
    return state


def lost(watch: LostWatch, of: Desired, seen: Actual, now: float) -> list[str]:
    return [mark.agent for mark in watch.lost(of, seen, now)]


def test_an_agent_is_lost_when_it_is_away_for_its_tolerance() -> None:
    watch = LostWatch(TOLERANCE)
    assert lost(watch, desired(), away("a", since=5.0), 64.9) == []
    assert watch.lost(desired(), away("a", since=5.0), 65.0) == [MarkLost(agent="a", since=5.0)]


def test_one_that_is_declared_lost_is_so_at_once_and_since_it_is_away() -> None:
    word = desired(a=agent("a", declared_lost=True))
    assert LostWatch(TOLERANCE).lost(word, away("a", since=5.0), 6.0) == [MarkLost(agent="a", since=5.0)]


def test_an_operator_s_word_goes_through_the_brake_for_that_agent_only() -> None:
    word = desired(b=agent("b", declared_lost=True))
    watch = LostWatch(TOLERANCE)
    assert lost(watch, word, away("a", "b", "c"), 100.0) == ["b"]
    assert watch.brake(word, away("a", "b", "c"), 100.0) is not None


def test_one_that_is_declared_lost_while_it_is_connected_is_back_at_once() -> None:
    word = desired(a=agent("a", declared_lost=True), b=agent("b", lost_since=1.0))
    assert lost(LostWatch(TOLERANCE), word, away(), 100.0) == []
    assert returned(word, away("c")) == ["a", "b"]
    assert returned(word, away("a", "b")) == []


def test_a_job_s_patience_does_not_hold_against_an_operator_s_word() -> None:
    job = version_of(job_config(on_lost=OnLost(after=Duration.parse("10m"))))
    task = task_id(job.prefix, 0)
    watch = LostWatch(TOLERANCE)

    def is_over(one: Agent, now: float) -> bool:
        state = desired(a=one)
        state.apply({(JOB, job.prefix): job, (PLACEMENT, task): placement(task, ("a", "run"))})
        return watch.is_over(one, state, task, now)

    assert not is_over(agent("a", lost_since=1.0), 599.0)
    assert is_over(agent("a", lost_since=1.0), 601.0)
    assert is_over(agent("a", lost_since=1.0, declared_lost=True), 2.0)
    assert not is_over(agent("a", declared_lost=True), 999.0), "first the fact is written"


def test_the_brake_holds_while_more_than_half_and_at_least_three_are_away() -> None:
    watch = LostWatch(TOLERANCE)
    assert watch.brake(desired(), away("a", "b"), 0.0) is None
    brake = watch.brake(desired(), away("a", "b", "c"), 10.0)
    assert brake is not None
    assert (brake.since, brake.until, brake.away, brake.agents) == (10.0, 10.0 + BRAKE_SECONDS, 3, 4)
    assert lost(watch, desired(), away("a", "b", "c"), 500.0) == []
    assert lost(watch, desired(), away("a", "b", "c"), 10.0 + BRAKE_SECONDS) == ["a", "b", "c"]


def test_a_released_brake_holds_nobody_who_is_away_for_longer_than_is_tolerated() -> None:
    watch = LostWatch(TOLERANCE)
    seen = away("a", "b", "c", since=100.0)
    assert watch.brake(desired(), seen, 110.0) is not None
    assert lost(watch, released(desired()), seen, 110.0) == [], "within its tolerance one may come back"
    assert lost(watch, released(desired()), seen, 160.0) == ["a", "b", "c"]
    assert watch.brake(released(desired()), seen, 160.0) is None


@pytest.mark.parametrize(("gone", "over"), [("abc", False), ("ab", True), ("", True)])
def test_a_release_is_forgotten_when_the_outage_is_over(gone: str, over: bool) -> None:
    ends = ended_release(released(desired(), version=7), away(*gone))
    assert ends == ([EndRelease(expected=7)] if over else [])
    assert ended_release(desired(), away()) == []


def test_after_a_release_was_forgotten_the_brake_holds_anew() -> None:
    watch = LostWatch(TOLERANCE)
    watch.brake(released(desired()), away("a", "b", "c"), 10.0)
    watch.brake(desired(), away("a"), 20.0)
    brake = watch.brake(desired(), away("a", "b", "c"), 30.0)
    assert brake is not None
    assert brake.since == 30.0
