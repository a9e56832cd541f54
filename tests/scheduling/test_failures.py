"""When a task counts as given up by its agent."""

from __future__ import annotations

import msgspec
import pytest
from rules_made import instance, job_config, placement, report

from config.bounds import MOST_REFUSALS
from scheduling.container import FAILED, FINISHED, ExitStatus
from scheduling.failures import ended_for_good, given_up
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


@pytest.mark.parametrize(
    ("restart", "status", "says", "for_good"),
    [
        ("no", 0, FINISHED, True), ("no", 1, FINISHED, True), ("no", 0, FAILED, False),
        ("on-failure", 0, FINISHED, True), ("on-failure", 1, FINISHED, False), ("always", 0, FINISHED, False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("goal", ["run", ""])
def test_its_policy_alone_says_whether_one_has_ended_for_good(
    restart: str, status: int, says: str, for_good: bool, goal: str
) -> None:
    """After an outage nothing is commanded for a while: that makes nothing good."""
    there = instance("t-0", says, job_config(restart=restart).container())
    ended = ExitStatus(exited=True, exit_status=status)
    process = msgspec.structs.replace(there.process_state, up=False, container_exit_status=ended)
    there = msgspec.structs.replace(there, process_state=process)
    generation = 3 if goal else 0
    assert (
        ended_for_good(report("a", "t-0", Phase.ENDED, instance=there, goal=goal, generation=generation))
        == for_good
    )
    assert not ended_for_good(report("a", "t-0", Phase.RUNNING, instance=there, goal=goal))
    assert not ended_for_good(None)
