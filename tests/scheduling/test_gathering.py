"""Large jobs that come in quick succession are looked at together; nothing waits for long."""

from __future__ import annotations

import pytest

from config.bounds import LONGEST_GATHERING_SECONDS
from scheduling.gathering import MANY_TASKS, PAUSE_SECONDS, Gathering


def test_a_large_job_waits_a_moment_for_others() -> None:
    gathering = Gathering()
    gathering.came(1.0)
    assert gathering.left_seconds(MANY_TASKS, 1.0) == pytest.approx(PAUSE_SECONDS)
    gathering.came(1.02)
    assert gathering.left_seconds(MANY_TASKS, 1.02) == pytest.approx(PAUSE_SECONDS)
    assert gathering.left_seconds(MANY_TASKS, 1.02 + PAUSE_SECONDS) == 0.0


def test_a_small_one_does_not() -> None:
    gathering = Gathering()
    gathering.came(1.0)
    assert gathering.left_seconds(MANY_TASKS - 1, 1.0) == 0.0


def test_what_touches_no_job_does_not() -> None:
    assert Gathering().left_seconds(MANY_TASKS, 1.0) == 0.0


def test_jobs_that_never_end_are_not_waited_for() -> None:
    gathering = Gathering()
    now = 0.0
    while now < LONGEST_GATHERING_SECONDS:
        gathering.came(now)
        now += PAUSE_SECONDS / 2
    assert gathering.left_seconds(MANY_TASKS, now) == 0.0


def test_the_next_ones_are_waited_for_anew() -> None:
    gathering = Gathering()
    gathering.came(0.0)
    gathering.over()
    assert gathering.left_seconds(MANY_TASKS, 0.0) == 0.0
    gathering.came(10.0)
    assert gathering.left_seconds(MANY_TASKS, 10.0) == pytest.approx(PAUSE_SECONDS)
