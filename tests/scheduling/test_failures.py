"""When a task counts as given up by its agent."""

from __future__ import annotations

import pytest
from rules_made import instance, placement, report

from config.bounds import MOST_REFUSALS
from scheduling.failures import given_up
from scheduling.lifecycle import Phase

ROW = placement("t-0", ("a", "run"), generation=3)


@pytest.mark.parametrize("phase", [Phase.ABSENT, Phase.UNCLEAR])
def test_a_task_that_was_refused_often_and_is_not_there_is_given_up(phase: Phase) -> None:
    refused = report(
        "a",
        "t-0",
        phase,
        instance=None,
        goal="run",
        generation=3,
        refusals=MOST_REFUSALS,
        error="500 disk full",
    )
    assert given_up(refused, ROW) == "500 disk full"


def test_one_whose_agent_says_what_nobody_understands_is_not() -> None:
    strange = report(
        "a",
        "t-0",
        Phase.UNCLEAR,
        instance=instance("t-0", "meditating"),
        goal="run",
        generation=3,
        refusals=MOST_REFUSALS,
        error="500",
    )
    assert given_up(strange, ROW) == ""
