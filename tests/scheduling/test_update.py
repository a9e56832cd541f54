"""What an update policy means in numbers, and which policies can't work and say why."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY

from scheduling.durations import Duration
from scheduling.update import STRATEGIES, UnworkableError, Update, limits


def bounds(strategy: str, old: int, new: int, **policy: Any) -> tuple[int, int]:
    """(floor, ceiling) of a policy for these scales."""
    numbers = limits(Update(strategy=strategy, **policy), old, new)
    return numbers.floor, numbers.ceiling


@pytest.mark.parametrize(
    ("strategy", "scales", "expected"),
    [
        ("rolling", (4, 4), (4, 5)),
        ("rolling", (1, 1), (1, 2)),
        ("rolling", (2, 5), (2, 6)),
        ("rolling", (5, 2), (2, 6)),
        ("blue_green", (4, 4), (4, 8)),
        ("blue_green", (2, 5), (2, 7)),
        ("canary", (4, 4), (4, 5)),
        ("in_place", (4, 4), (3, 4)),
        ("in_place", (1, 1), (0, 1)),
        ("in_place", (2, 5), (1, 5)),
    ],
)
def test_what_each_strategy_keeps_running_and_allows_by_itself(
    strategy: str, scales: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert bounds(strategy, *scales) == expected


def test_more_at_once_is_more_beyond_the_scale_or_fewer_below_it() -> None:
    assert bounds("rolling", 4, 4, max_parallel=3) == (4, 7)
    assert bounds("in_place", 4, 4, max_parallel=3) == (1, 4)
    assert bounds("in_place", 2, 2, max_parallel=3) == (0, 2), "fewer than none can't be"
    assert bounds("canary", 4, 4, canary=2) == (4, 6), "all canaries run beside the others"
    assert bounds("canary", 4, 4, canary=2, floor=1) == (1, 6), "they do so with a low floor too"


def test_who_allows_fewer_to_run_or_none_beyond_needs_no_room_for_more() -> None:
    assert bounds("rolling", 4, 4, floor=2) == (2, 4)
    assert bounds("rolling", 4, 4, surge=0) == (3, 4)
    assert bounds("rolling", 4, 4, surge=0, floor=0) == (0, 4)
    assert bounds("rolling", 4, 4, floor=2, surge=2) == (2, 6)


def test_the_rest_of_a_policy_is_passed_on_in_numbers() -> None:
    numbers = limits(
        Update(
            strategy="canary",
            max_parallel=2,
            canary=9,
            auto_promote=True,
            auto_revert=False,
            min_healthy_time=Duration.parse("1.5s"),
            progress_deadline=Duration.parse("2m"),
        ),
        3,
        4,
    )
    assert numbers.canary == 4, "no more canaries than there are tasks"
    assert (numbers.auto_promote, numbers.auto_revert, numbers.max_parallel) == (True, False, 2)
    assert (numbers.min_healthy_seconds, numbers.deadline_seconds) == (1.5, 120.0)
    assert limits(Update(canary=3), 3, 4).canary == 0, "only a canary strategy has canaries"


@pytest.mark.parametrize(
    ("policy", "scales", "text"),
    [
        (
            Update(strategy="in_place", surge=1),
            (2, 2),
            "update.surge is 1; in_place stops a task before it starts the next, so it must be 0 "
            "(or choose rolling)",
        ),
        (
            Update(strategy="blue_green", surge=2),
            (2, 2),
            "update.surge is 2; blue_green starts the whole new version beside the old, so leave it out "
            "(or choose rolling)",
        ),
        (
            Update(floor=3, surge=1),
            (5, 2),
            "update.floor is 3, but one of the versions has just 2 tasks; at most that many",
        ),
        (
            Update(floor=2, surge=0),
            (2, 2),
            "update.floor is 2 and no more than 2 tasks may run, so none could ever be replaced; lower "
            "floor to 1, or allow a surge of 1",
        ),
        (
            Update(strategy="in_place", floor=1),
            (1, 1),
            "update.floor is 1 and no more than 1 tasks may run, so none could ever be replaced; lower "
            "floor to 0, or allow a surge of 1",
        ),
        (
            Update(strategy="canary", surge=0, floor=2),
            (3, 3),
            "1 canaries run beside all 3 old tasks until they are promoted, but no more than 3 may run; "
            "allow an update.surge of 1",
        ),
        (
            Update(strategy="canary", canary=3, surge=1),
            (3, 3),
            "3 canaries run beside all 3 old tasks until they are promoted, but no more than 4 may run; "
            "allow an update.surge of 3",
        ),
        (
            Update(strategy="canary", surge=0),
            (5, 3),
            "1 canaries run beside all 5 old tasks until they are promoted, but no more than 5 may run; "
            "allow an update.surge of 1",
        ),
        (
            Update(strategy="sideways"),
            (1, 1),
            'update.strategy is "sideways"; it must be one of rolling, blue_green, canary, in_place',
        ),
    ],
)
def test_a_policy_that_can_not_work_says_why(policy: Update, scales: tuple[int, int], text: str) -> None:
    with pytest.raises(UnworkableError) as refused:
        limits(policy, *scales)
    assert str(refused.value) == text


POLICIES = st.builds(
    Update,
    strategy=st.sampled_from(STRATEGIES),
    max_parallel=st.integers(1, 5),
    floor=st.none() | st.integers(0, 5),
    surge=st.none() | st.integers(0, 5),
    canary=st.integers(1, 5),
)


@PROPERTY
@given(POLICIES, st.integers(1, 6), st.integers(1, 6))
def test_the_numbers_always_leave_room_for_a_change(policy: Update, old: int, new: int) -> None:
    try:
        numbers = limits(policy, old, new)
    except UnworkableError as refused:
        assert "update." in str(refused)
        return
    assert 0 <= numbers.floor <= min(old, new)
    assert numbers.floor < numbers.ceiling
    assert max(old, new) <= numbers.ceiling <= old + new + 5
    assert numbers.canary <= new


@pytest.mark.parametrize("strategy", STRATEGIES)
@PROPERTY
@given(old=st.integers(1, 6), new=st.integers(1, 6), at_once=st.integers(1, 9))
def test_a_policy_that_names_just_a_strategy_always_works(
    strategy: str, old: int, new: int, at_once: int
) -> None:
    limits(Update(strategy=strategy, max_parallel=at_once), old, new)
