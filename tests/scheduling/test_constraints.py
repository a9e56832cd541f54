"""Constraints: what they accept, what they say of an agent that they refuse, and what can't be one."""

from __future__ import annotations

import pytest

from scheduling.constraints import parse, version

HOST = {"zone": "eu1", "kernel": "6.1.0-13-amd64", "rack": "b", "host": "gpu7", "odd": "none"}


@pytest.mark.parametrize(
    "text",
    [
        "zone = eu1",
        "zone=eu1",
        "zone != eu2",
        "gone != eu2",
        "rack in a, b",
        "rack in b",
        "host ~ ^gpu[0-9]$",
        "kernel >= 6.1",
        "kernel <= 6.1",
        "kernel > 5.19",
        "kernel < 6.10",
    ],
)
def test_a_host_that_is_as_demanded_misses_nothing(text: str) -> None:
    assert parse(text).miss(HOST) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("zone = eu2", "zone is eu1; it must be eu2"),
        ("zone != eu1", "zone is eu1; it must be other than eu1"),
        ("rack in a, c", "rack is b; it must be one of a, c"),
        ("host ~ ^cpu", "host is gpu7; it must be like ^cpu"),
        ("kernel >= 6.2", "kernel is 6.1.0-13-amd64; it must be >= 6.2"),
        ("odd > 1", "odd is none; it must be > 1"),
        ("odd < 1", "odd is none; it must be < 1"),
        ("gone = 1", "has no gone; it must be 1"),
        ("gone ~ x", "has no gone; it must be like x"),
    ],
)
def test_a_refusal_says_what_is_and_what_must_be(text: str, why: str) -> None:
    assert parse(text).miss(HOST) == why


@pytest.mark.parametrize(
    "text",
    ["", "zone", "zone =", "= eu1", "in a", "zone eu1", "kernel > new", "host ~ (", "a b = c", "z = \x00"],
)
def test_what_is_no_constraint_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match=r"it must be|pattern|compares versions"):
        parse(text)


@pytest.mark.parametrize("pattern", ["(a+)+$", "(ab)*", "(x|y){9}", "a*b*c*", ".*.*.*x"])
def test_a_pattern_that_could_take_for_ever_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="may repeat"):
        parse(f"host ~ {pattern}")


def test_versions_compare_by_their_numbers() -> None:
    assert version("6.10") > version("6.9")
    assert version("v1.2-rc3") == (1, 2)
    assert version("none") == ()
