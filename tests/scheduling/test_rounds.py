"""What makes a state machine's rounds few: how long it gathers, and how many of a flock do at a time."""

from __future__ import annotations

import pytest

from config.bounds import BUSY_MACHINES, LONGEST_ROUND_PAUSE_SECONDS
from scheduling.busy import BUSY_SECONDS, BusyMachines
from scheduling.pace import USUAL_PAUSE_SECONDS, Pace


def test_an_agent_that_answers_slowly_is_given_more_time() -> None:
    pace = Pace()
    pace.heard(0.0, busy=True)
    pace.heard(0.001, busy=True)
    assert pace.pause_seconds == USUAL_PAUSE_SECONDS
    pace.heard(0.061, busy=True)
    assert pace.pause_seconds == pytest.approx(0.18), "three times as long as it took"
    for _ in range(100):
        pace.heard(0.061, busy=True)
    assert pace.pause_seconds == USUAL_PAUSE_SECONDS, "it is quick again"


def test_the_time_while_nothing_is_expected_says_nothing() -> None:
    pace = Pace()
    pace.heard(0.0, busy=False)
    pace.heard(100.0, busy=True)
    assert pace.pause_seconds == USUAL_PAUSE_SECONDS


def test_an_agent_that_takes_minutes_is_not_waited_for() -> None:
    pace = Pace()
    pace.heard(0.0, busy=True)
    pace.heard(300.0, busy=True)
    assert pace.pause_seconds == pytest.approx(LONGEST_ROUND_PAUSE_SECONDS)


def test_only_so_many_are_commanded_at_a_time() -> None:
    busy = BusyMachines()
    names = [f"a{number}" for number in range(BUSY_MACHINES + 1)]
    for name in names[:-1]:
        assert busy.has_room(0.0)
        busy.commanded(name, 0.0)
    assert not busy.has_room(0.0)
    busy.is_free(names[0])
    assert busy.has_room(0.0)
    busy.commanded(names[-1], 0.0)
    assert not busy.has_room(0.0)
    assert [busy.is_busy(name, 0.0) for name in names] == [False] + [True] * BUSY_MACHINES


def test_one_that_does_not_report_keeps_nobody_waiting_for_long() -> None:
    busy = BusyMachines()
    for number in range(BUSY_MACHINES):
        busy.commanded(f"a{number}", 0.0)
    assert busy.is_busy("a0", BUSY_SECONDS / 2)
    assert not busy.has_room(BUSY_SECONDS / 2)
    assert not busy.is_busy("a0", BUSY_SECONDS)
    assert busy.has_room(BUSY_SECONDS)
