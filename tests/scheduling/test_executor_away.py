"""After an outage of its agent an executor asks for nothing that was commanded before it and is not done."""

from __future__ import annotations

import pytest
from test_executor import Agent

from scheduling.executor import DOUBT_SECONDS, FIRST_RETRY_SECONDS, Outcome
from scheduling.lifecycle import Input, Phase


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_what_is_not_there_any_more_waits_for_a_new_command(agent: Agent) -> None:
    agent.brought_up("t-0")
    agent.says({}, everything=True)
    agent.executor.was_away()
    assert agent.steps() == []
    assert agent.news() == {"t-0"}
    assert agent.reported["t-0"] is None, "as after a restart of the state machine"
    agent.command("run", "t-0", generation=2)
    assert agent.steps() == [("t-0", "put")]


def test_what_was_not_started_waits_for_a_new_command(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT)
    agent.says({"t-0": "created"}, everything=True)
    agent.executor.was_away()
    assert agent.steps() == []
    assert (agent.report("t-0").goal, agent.report("t-0").generation) == ("", 0), "it is commanded anew"
    agent.command("run", "t-0")
    assert agent.steps() == [("t-0", "start")]


@pytest.mark.parametrize("outcome", ["accepted", "unanswered"])
def test_what_is_being_made_is_started_by_a_new_command_only(agent: Agent, outcome: Outcome) -> None:
    """Its agent hung, was lost for that, and makes now what was asked of it long ago."""
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, outcome)
    agent.says({"t-0": ""}, everything=True)
    agent.executor.was_away()
    agent.says({"t-0": "created"})
    assert agent.steps() == []
    agent.command("run", "t-0")
    assert agent.steps() == [("t-0", "start")]


def test_what_runs_goes_on_and_a_stop_waits_for_a_new_command(agent: Agent) -> None:
    """Found by the simulation: what was to replace it did not run yet, so this one stays, and was stopped."""
    agent.brought_up("t-0")
    agent.brought_up("t-1")
    agent.command("stop", "t-1", generation=2)
    agent.news()
    agent.says({"t-0": "running", "t-1": "running"}, everything=True)
    agent.executor.was_away()
    assert agent.report("t-0").goal == "run"
    assert agent.steps() == []
    agent.command("stop", "t-1", generation=2)
    assert agent.steps() == [("t-1", "stop")]


def stopped(agent: Agent, task: str) -> None:
    """It ran, was stopped for generation 2, and that is proven."""
    agent.brought_up(task)
    agent.command("stop", task, generation=2)
    for step, shown in ((Input.STOP, "finished"), (Input.DELETE, "deleted")):
        assert agent.steps() == [(task, step.value)]
        agent.replies(task, step)
        agent.says({task: shown})
    assert agent.report(task).proves_absence(2)


def test_what_was_proven_stopped_and_runs_again_waits_for_a_new_command(agent: Agent) -> None:
    """Back from an old disk: its placement went on after the proof, and may want it to run by now."""
    stopped(agent, "t-0")
    agent.says({"t-0": "running"}, everything=True)
    assert agent.steps() == []
    assert (agent.report("t-0").goal, agent.report("t-0").phase) == ("", Phase.RUNNING)
    agent.command("run", "t-0", generation=1)
    assert agent.report("t-0").goal == "", "what is older than the stop stays old"
    agent.command("run", "t-0", generation=3)
    assert (agent.steps(), agent.report("t-0").generation) == ([], 3)


def test_what_was_proven_stopped_and_runs_again_is_stopped_when_that_is_still_meant(agent: Agent) -> None:
    stopped(agent, "t-0")
    agent.says({"t-0": "running"}, everything=True)
    agent.command("stop", "t-0", generation=2)
    assert agent.steps() == [("t-0", "stop")]


def test_what_is_stopped_and_not_proven_to_be_gone_is_stopped_again(agent: Agent) -> None:
    agent.brought_up("t-0")
    agent.command("stop", "t-0", generation=2)
    agent.steps()
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.UNCLEAR, "the stop is not answered yet"
    agent.replies("t-0", Input.STOP, "unanswered", "timed out")
    agent.says({"t-0": "running"})
    assert agent.steps() == [("t-0", "stop")]


def test_what_comes_late_after_the_proof_is_removed_though_it_is_to_be_forgotten(agent: Agent) -> None:
    """By a put of a predecessor; who says that its placement is gone has not seen it yet."""
    stopped(agent, "t-0")
    agent.says({"t-0": "created"})
    agent.command("forget", "t-0", generation=2)
    assert agent.steps() == [("t-0", "delete")]
    agent.replies("t-0", Input.DELETE)
    agent.says({"t-0": "deleted"})
    agent.command("forget", "t-0", generation=2)
    agent.news()
    assert agent.reported["t-0"] is None


def test_a_doubt_outlives_the_outage(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "unanswered", "timed out")
    agent.says({}, everything=True)
    agent.executor.was_away()
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.UNCLEAR, (
        "it may still arrive, however often it is not there yet"
    )
    agent.command("stop", "t-0", generation=2)
    assert not agent.report("t-0").proves_absence(2)
    agent.waits(DOUBT_SECONDS)
    agent.says({}, everything=True)
    assert agent.report("t-0").proves_absence(2)


def test_an_accepted_put_says_nothing_of_one_before_it_that_was_never_answered(agent: Agent) -> None:
    """Seed 3209: what was seen came of the second, and the first made the container again 18 s later."""
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "unanswered", "connection reset")
    agent.waits(FIRST_RETRY_SECONDS)
    assert agent.steps() == [("t-0", "put")]
    agent.replies("t-0", Input.PUT)
    agent.says({"t-0": "created"})
    agent.command("stop", "t-0", generation=2)
    assert ("t-0", "delete") in agent.steps()
    agent.replies("t-0", Input.DELETE)
    agent.says({"t-0": "deleted"})
    assert agent.report("t-0").phase is Phase.UNCLEAR, "the first may still arrive"
    agent.waits(DOUBT_SECONDS)
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.ABSENT
