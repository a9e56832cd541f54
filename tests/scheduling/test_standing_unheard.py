"""Of an imported version nobody knows what runs of it, before every agent was heard: it is not down."""

from __future__ import annotations

import pytest
from rules_made import agent, job_config, placement, report, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual
from scheduling.desired import AGENT, JOB, PLACEMENT, Desired
from scheduling.job import task_id
from scheduling.lifecycle import Phase
from scheduling.replica import Changes
from scheduling.standing import Health, standing


def down(
    answered: dict[str, bool],
    *,
    adopt: bool = True,
    lost: str = "",
    placed: bool = False,
    found: Phase | None = None,
) -> set[int]:
    """Which of two tasks are down; the first one: `placed`, to be stopped; `found` on a, in this phase."""
    job = version_of(job_config(scale=2), adopt=adopt)
    desired, actual = Desired(), Actual()
    changes: Changes = {(JOB, job.prefix): job}
    changes |= {(AGENT, name): agent(name, lost_since=1.0 if name == lost else None) for name in answered}
    if placed:
        task = task_id(job.prefix, 0)
        changes[PLACEMENT, task] = placement(task, ("a", "stop"))
    desired.apply(changes)
    actual.apply({(ACTUAL_AGENT, name): status(name, answered=heard) for name, heard in answered.items()})
    if found is not None:
        first = task_id(job.prefix, 0)
        actual.apply({(CONTAINER, "a", first): report("a", first, found)})
    stands = standing(job.prefix, (0, 1), desired, actual, Health(), min_healthy_seconds=0.0, now=10.0)
    return set(stands.down)


@pytest.mark.parametrize("answered", [{}, {"a": False}, {"a": True, "b": False}])
def test_what_was_imported_is_unknown_until_all_were_heard(answered: dict[str, bool]) -> None:
    """Also while no agent is known at all: then everybody has yet to come."""
    assert down(answered) == set()
    assert down(answered, adopt=False) == {0, 1}


def test_once_all_were_heard_that_are_not_lost_it_is_down() -> None:
    assert down({"a": True, "b": True}) == {0, 1}
    assert down({"a": True, "b": False}, lost="b") == {0, 1}


def test_what_has_a_place_was_heard_of() -> None:
    assert down({"a": True, "b": False}, placed=True) == {0}


def test_what_is_found_without_a_place_is_not_down_before_it_was_adopted() -> None:
    """Else a migration would stop first what it takes for down, and it runs."""
    assert down({"a": True}, found=Phase.RUNNING) == {1}
    assert down({"a": True}, found=Phase.ABSENT) == {0, 1}
