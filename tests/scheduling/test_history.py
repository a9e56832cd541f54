"""The versions of a job: numbered for good, the last ones kept, and which one `revert` means."""

from __future__ import annotations

from rules_made import job_config

from config.bounds import VERSIONS_KEPT
from scheduling.history import History, Past


def past(number: int, mem: int | None = None) -> Past:
    config = job_config(mem=mem or number)
    return Past(number=number, hash=config.hash(), config=config, at=float(number))


def history(*numbers: int) -> History:
    made = History(current=0)
    for number in numbers:
        made = made.with_version(past(number))
    return made


def numbers(made: History) -> list[int]:
    return [each.number for each in made.kept]


def test_the_newest_is_in_force() -> None:
    made = history(1, 2, 3)
    assert (made.current, numbers(made), made.next_number) == (3, [1, 2, 3], 4)
    assert made.version(2) == past(2)
    assert made.version(4) is None
    assert History(current=0).next_number == 1


def test_the_oldest_fall_out_and_numbers_are_never_used_again() -> None:
    made = history(*range(1, VERSIONS_KEPT + 4))
    assert numbers(made) == list(range(4, VERSIONS_KEPT + 4))
    assert made.next_number == VERSIONS_KEPT + 4


def test_the_one_that_stays_in_force_while_others_fail_never_falls_out() -> None:
    made = history(1)
    for number in range(2, VERSIONS_KEPT + 5):
        made = made.with_version(past(number)).back_to(1, "it failed")
    assert len(made.kept) == VERSIONS_KEPT
    assert numbers(made)[0] == made.current == 1
    assert numbers(made.with_version(past(99)))[0] == 1, "what a new one would go back to is kept too"


def test_before_is_the_newest_other_one_that_was_not_given_up() -> None:
    assert History(current=0).before() is None
    assert history(1).before() is None
    assert history(1, 2, 3).before() == past(2)
    failed = history(1, 2, 3).back_to(2, "it failed")
    assert failed.before() == past(1), "3 was given up, 2 is in force"
    assert history(1, 2).back_to(1, "it failed").before() is None


def test_going_back_tells_why_of_the_one_that_was_given_up_only() -> None:
    made = history(1, 2, 3).back_to(1, "web-0 failed")
    assert made.current == 1
    assert [each.reverted for each in made.kept] == ["", "", "web-0 failed"]


def test_a_config_that_is_in_force_again_keeps_its_number() -> None:
    made = history(1, 2, 3)
    assert made.again(past(4, mem=2)) == History(current=2, kept=made.kept)
    assert made.again(past(4)) == made.with_version(past(4))
