"""What the registry does with the words on who is lost, and with a release of the brake."""

from __future__ import annotations

import pytest
from rules_made import agent

from scheduling.desired import AGENT, FLEET, RELEASE, Agent, BrakeRelease, Desired
from scheduling.presence import DeclareLost, EndRelease, MarkLost, ReleaseBrake
from scheduling.registry import Mutation, judge

VERSION = 9


def told(mutation: Mutation, one: Agent | None = None, release: int | None = None) -> tuple[str, Desired]:
    """The result, and the desired state afterwards."""
    state = Desired()
    state.apply({(AGENT, "a"): one or agent("a")})
    if release is not None:
        state.apply({(FLEET, RELEASE): BrakeRelease(version=release)})
    answer, changes = judge(state, mutation, VERSION)
    state.apply(changes)
    return answer.result, state


def test_an_agent_is_declared_lost_once() -> None:
    result, state = told(DeclareLost(agent="a"))
    assert (result, state.agents["a"]) == ("changed", agent("a", declared_lost=True, version=VERSION))
    assert told(DeclareLost(agent="a"), agent("a", declared_lost=True))[0] == "unchanged"


def test_one_that_is_lost_already_can_be_declared_lost_for_tasks_that_wait_longer() -> None:
    result, state = told(DeclareLost(agent="a"), agent("a", lost_since=3.0))
    assert (result, state.agents["a"].declared_lost, state.agents["a"].lost_since) == ("changed", True, 3.0)


@pytest.mark.parametrize("mutation", [DeclareLost(agent="x"), MarkLost(agent="x", since=1.0)])
def test_nothing_is_said_of_an_agent_that_is_not_there(mutation: Mutation) -> None:
    result, state = told(mutation)
    assert (result, set(state.agents)) == ("not found", {"a"})


def test_the_word_stays_when_the_fact_is_written_and_goes_when_it_is_back() -> None:
    result, state = told(MarkLost(agent="a", since=5.0), agent("a", declared_lost=True))
    assert (result, state.agents["a"].lost_since, state.agents["a"].declared_lost) == ("changed", 5.0, True)
    result, state = told(MarkLost(agent="a", since=None), agent("a", lost_since=5.0, declared_lost=True))
    assert (result, state.agents["a"].lost_since, state.agents["a"].declared_lost) == ("changed", None, False)


def test_a_word_that_never_became_a_fact_is_taken_back_too() -> None:
    result, state = told(MarkLost(agent="a", since=None), agent("a", declared_lost=True))
    assert (result, state.agents["a"].declared_lost) == ("changed", False)
    assert told(MarkLost(agent="a", since=None))[0] == "unchanged"


def test_the_brake_is_released_once() -> None:
    result, state = told(ReleaseBrake())
    assert (result, state.brake_release) == ("changed", BrakeRelease(version=VERSION))
    result, state = told(ReleaseBrake(), release=4)
    assert (result, state.brake_release) == ("unchanged", BrakeRelease(version=4))


def test_only_the_release_that_is_meant_is_ended() -> None:
    result, state = told(EndRelease(expected=4), release=4)
    assert (result, state.brake_release) == ("changed", None)
    result, state = told(EndRelease(expected=4), release=5)
    assert (result, state.brake_release) == ("unchanged", BrakeRelease(version=5))
    assert told(EndRelease(expected=4))[0] == "unchanged"
