"""Durations are read and spelled as Go does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY

from scheduling.durations import Duration

MICROSECOND, MILLISECOND, SECOND = 10**3, 10**6, 10**9
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND


@pytest.mark.parametrize(
    ("written", "nanoseconds", "spelled"),
    [
        ("0", 0, "0s"),
        ("0s", 0, "0s"),
        ("-0", 0, "0s"),
        ("1ns", 1, "1ns"),
        ("1us", MICROSECOND, "1µs"),
        ("1µs", MICROSECOND, "1µs"),
        ("1μs", MICROSECOND, "1µs"),
        ("1100ns", 1100, "1.1µs"),
        ("2.2ms", 2_200_000, "2.2ms"),
        ("250ms", 250 * MILLISECOND, "250ms"),
        ("1500ms", 1500 * MILLISECOND, "1.5s"),
        ("1.5s", 1500 * MILLISECOND, "1.5s"),
        ("90s", 90 * SECOND, "1m30s"),
        ("1m30s", 90 * SECOND, "1m30s"),
        ("60s", MINUTE, "1m0s"),
        ("1h", HOUR, "1h0m0s"),
        ("1.5h", 90 * MINUTE, "1h30m0s"),
        ("100h", 100 * HOUR, "100h0m0s"),
        ("1h0.001s", HOUR + MILLISECOND, "1h0m0.001s"),
        (".5s", 500 * MILLISECOND, "500ms"),
        ("1.s", SECOND, "1s"),
        ("+5s", 5 * SECOND, "5s"),
        ("-1.5h", -90 * MINUTE, "-1h30m0s"),
        ("-1ms", -MILLISECOND, "-1ms"),
        ("0.3333333333333333333h", 20 * MINUTE, "20m0s"),
        ("9223372036854775807ns", 2**63 - 1, "2562047h47m16.854775807s"),
    ],
)
def test_go_spellings(written: str, nanoseconds: int, spelled: str) -> None:
    duration = Duration.parse(written)
    assert duration.nanoseconds == nanoseconds
    assert str(duration) == spelled
    assert repr(duration) == f"Duration('{spelled}')"


@PROPERTY
@given(st.integers(-(2**63) + 1, 2**63 - 1) | st.integers(-5 * SECOND, 5 * SECOND))
def test_what_is_spelled_is_read_back(nanoseconds: int) -> None:
    assert Duration.parse(str(Duration(nanoseconds))) == Duration(nanoseconds)


@PROPERTY
@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_durations_compare_by_length(one: int, other: int) -> None:
    assert (Duration(one) < Duration(other)) == (one < other)
    assert (Duration(one) >= Duration(other)) == (one >= other)
    assert (Duration(one) == Duration(other)) == (one == other)
    assert Duration(one) != one
    assert hash(Duration(one)) == hash(Duration(one))


def test_seconds_are_the_same_length() -> None:
    assert Duration.parse("1.5s").seconds == 1.5


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "+", "5", "1.5", ".s", ".", "s", "1x", "1 s", " 1s", "1s ", "1s2", "--1s", "1e3s", "١s"),
        *("1S", "1m 30s", "1sm", "1d", "0x1s", "1,5s", "\n1s", "1s\n", "9223372036854775808ns", "2562048h"),
    ],
)
def test_what_go_does_not_read_is_refused_with_the_text_and_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration") as caught:
        Duration.parse(text)
    assert f'"{text}"' in str(caught.value)
    assert '"250ms", "1.5s" or "1m30s"' in str(caught.value)


def test_a_text_without_end_is_cut_in_the_complaint() -> None:
    with pytest.raises(ValueError, match="is not a duration") as caught:
        Duration.parse("1" * 10_000 + "s")
    assert len(str(caught.value)) < 200
