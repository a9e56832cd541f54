"""Delays and failures as they are written on the command line."""

from __future__ import annotations

import pytest

from simulation.fleet_behaviour import BehaviourError, Range, parse_delays, parse_failures


def test_a_lone_duration_is_that_of_create_start_and_stop() -> None:
    delays = parse_delays("250ms")
    assert delays.create == delays.start == delays.stop == Range(0.25, 0.25)
    assert delays.delete == Range()


def test_each_can_be_a_range() -> None:
    delays = parse_delays("create=1s..1m30s,reply=2ms")
    assert (delays.create, delays.reply) == (Range(1.0, 90.0), Range(0.002, 0.002))


@pytest.mark.parametrize("text", ["create=fast", "create=2s..1s", "boot=1s", "soon"])
def test_wrong_delays_are_named(text: str) -> None:
    with pytest.raises(BehaviourError, match=r"fast|2s\.\.1s|boot|soon"):
        parse_delays(text)


def test_shares_and_rates() -> None:
    failures = parse_failures("start=0.5,die=30")
    assert (failures.start, failures.die, failures.refuse) == (0.5, 30.0, 0.0)


@pytest.mark.parametrize("text", ["start=1.5", "die=61", "start=often", "start", "sleep=1", "die=nan"])
def test_wrong_failures_are_named(text: str) -> None:
    with pytest.raises(BehaviourError, match=text.partition("=")[0]):
        parse_failures(text)
