"""What the onlooker holds against a start that reaches a lost agent while its replacement runs."""

import pytest
from story_checks import until_runs_anywhere

from scheduling.lifecycle import Input
from simulation.agent import Journey
from simulation.scripted import Script, script


def replaced(it: Script) -> tuple[str, str, float]:
    """A task whose agent is lost, and which runs elsewhere too; returns it, the agent, and a time before."""
    it.begin()
    (task,) = it.schedule("web", restart="always")
    (first,) = until_runs_anywhere(it, task)
    before = it.world.clock.now
    it.strike("network is cut", first, seconds=60.0)
    it.until(lambda: it.lost(first) and it.runs_on(task) == ["a", "b"], "the replacement runs")
    return task, first, before


@pytest.mark.parametrize("late_seconds", [0.0, 90.0])
def test_what_was_under_way_when_its_agent_was_declared_lost_can_not_be_taken_back(
    late_seconds: float,
) -> None:
    with script({"a": 400, "b": 400}, 1) as it:
        task, first, before = replaced(it)
        it.pass_seconds(late_seconds)
        it.world.agents[first].handle(Input.START, task, b"", Journey(asked_at=before, tardy=True))
        it.end()


def test_a_start_that_is_asked_of_a_lost_agent_is_one_too_many() -> None:
    with script({"a": 400, "b": 400}, 1) as it:
        task, first, _ = replaced(it)
        now = it.world.clock.now
        it.world.agents[first].handle(Input.START, task, b"", Journey(asked_at=now))
        assert [each.invariant for each in it.world.watch.violations] == ["runs once"]


def test_nor_is_it_excused_because_the_agent_hung() -> None:
    with script({"a": 400, "b": 400}, 1) as it:
        task, first, _ = replaced(it)
        now, host = it.world.clock.now, it.world.agents[first]
        host.waiting.append(lambda: host.handle(Input.START, task, b"", Journey(asked_at=now)) and None)
        host.wake()
        assert [each.invariant for each in it.world.watch.violations] == ["runs once"]
