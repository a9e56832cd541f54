"""The rows of the table of failures (docs/architecture.md) about tasks and agents: each with its story,
which must fail without what brings the outcome about."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from story_checks import breaks, holds, off, until_runs, until_runs_anywhere

from scheduling import scheduler
from scheduling.copies import Copies
from scheduling.lifecycle import Phase
from simulation import network
from simulation.scenario import job_config
from simulation.scripted import script
from simulation.world import World

pytestmark = pytest.mark.timeout(300)
THREE = {"a": 400, "b": 400, "c": 400}


def crowd_b(world: World) -> None:
    """With something on b already, a is chosen."""
    world.put("b", "other-0", job_config("queue", 0, 1).container(), "running")


def is_restarted_by_its_agent(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        asked = it.requests()
        it.strike("task exits", first)
        it.expect(it.world.agents[first].containers[task].restarts == 1, "its agent has restarted it")
        it.pass_seconds(60.0)
        it.expect(it.requests() == asked and it.runs_on(task) == [first], "nobody else did anything")


def is_given_up(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed, before=crowd_b) as it:
        it.begin()
        (task,) = it.schedule("web", restart="on-failure")
        until_runs(it, task, "a")
        for pause_seconds in (5.0, 10.0, 20.0):
            (here,) = it.runs_on(task)
            other = "b" if here == "a" else "a"
            it.strike("task exits", here)
            ended_at = it.elapsed()
            it.until(lambda: "failed" in it.waiting(task.removesuffix("-0")), "it is said why it waits")
            it.until(lambda here=here: it.copies(task).get(here) != "run" and any(  # type: ignore[misc]
                intent == "run" for intent in it.copies(task).values()), "it is placed again")  # fmt: skip
            waited = it.elapsed() - ended_at
            it.expect(
                pause_seconds <= waited < pause_seconds + 5.0, f"a pause of {pause_seconds}: {waited:.1f} s"
            )
            it.expect(
                it.copies(task) == {other: "run"}, f"it is placed on the other agent: {it.copies(task)}"
            )
            until_runs(it, task, other)


def is_done(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="no")
        (first,) = until_runs_anywhere(it, task)
        asked, row = it.requests(), it.row(task)
        it.strike("task exits", first)
        it.pass_seconds(60.0)
        it.expect(it.requests() == asked and it.row(task) == row, "it is left as it ended")


def _always_given_up(report: Any, _placement: Any) -> str:
    return "it ended" if report is not None and report.phase is Phase.ENDED else ""


def test_a_task_dies() -> None:
    """ "The agent restarts it by its policy; one the agent gives up on is placed again with exponential
    backoff, elsewhere if another agent fits; one that ended by policy `no` is done"."""
    holds(is_restarted_by_its_agent)
    holds(is_given_up)
    breaks(is_given_up, "not within .* why it waits", "a task that its agent gave up is placed again")
    breaks(is_given_up, "a failed task waits|a pause of", "a task that failed waits before it is tried again")
    breaks(
        is_given_up,
        "a failed task goes elsewhere|on the other agent",
        "a task that failed goes elsewhere if another agent fits",
    )
    holds(is_done)
    breaks(is_done, "left as it ended", off(scheduler, "given_up", _always_given_up))


def stream_breaks(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        (task,) = it.schedule("web", restart="always")
        (first,) = until_runs_anywhere(it, task)
        asked, row, tries = it.requests(), it.row(task), len(it.logged("its stream breaks"))
        it.never["its task is touched"] = lambda: it.requests() != asked or it.row(task) != row
        broken_at = it.elapsed()
        it.strike("agent crashes, all kept", first, seconds=15.0)
        it.until(lambda: it.link(first) == "stale", "it is shown as stale", 1.0)
        it.pass_seconds(14.0)
        report = it.actual.report(first, task)
        it.expect(
            report is not None and report.phase is Phase.RUNNING, f"its task is shown as last known: {report}"
        )
        tries = len(it.logged("its stream breaks")) - tries
        it.expect(5 <= tries <= 12, f"it is tried again, ever more rarely: {tries} times")
        ends = [float(line.split()[0]) for line in it.logged("its stream breaks")]
        gaps = [
            later - earlier for earlier, later in pairwise(end for end in ends if end >= broken_at - 0.01)
        ]
        it.expect(max(gaps) > 5 * gaps[0] and max(gaps) <= 5.5, f"the pauses grow up to 5 s: {gaps}")
        it.until(lambda: it.link(first) == "connected", "it is connected again", 10.0)
        it.end()


def test_an_agent_s_stream_breaks() -> None:
    """ "Reconnect with backoff and jitter; its state is shown as stale, its tasks are left alone"."""
    holds(stream_breaks)
    breaks(
        stream_breaks, "lost after the tolerance|its task is touched", "an agent is lost after its tolerance"
    )
    breaks(stream_breaks, "ever more rarely", off(network, "LONGEST_RECONNECT_SECONDS", 0.2))


def silent_for_long(seed: int) -> None:
    with script(THREE, seed) as it:
        it.begin()
        tasks = it.schedule("web", 3, restart="always")
        first, *_ = until_runs_anywhere(it, *tasks)
        it.strike("agent hangs", first, seconds=200.0)
        it.until(lambda: it.link(first) == "stale", "it is asked, and stale")
        stale_at = it.elapsed()
        it.until(lambda: it.lost(first), "it is lost")
        it.expect(it.elapsed() - stale_at >= 19.0, "not before its tolerance")
        it.until(lambda: all(set(it.runs_on(task)) - {first} for task in tasks), "its tasks run elsewhere")
        it.end()


def all_are_silent(seed: int) -> None:
    with script({**THREE, "d": 400}, seed) as it:
        it.begin()
        tasks = it.schedule("web", 4, restart="always")
        until_runs_anywhere(it, *tasks)
        rows = [it.row(task) for task in tasks]
        it.never["one is lost"] = lambda: any(map(it.lost, THREE))
        for name in THREE:
            it.strike("agent hangs", name, seconds=150.0)
        it.pass_seconds(145.0)
        it.expect([it.row(task) for task in tasks] == rows, "nothing is placed elsewhere")
        it.pass_seconds(20.0)
        it.end()


def test_an_agent_is_silent_past_its_tolerance() -> None:
    """ "Lost: its tasks are placed elsewhere, unless the brake holds"."""
    holds(silent_for_long)
    breaks(silent_for_long, "it is lost", "an agent that is away for long is lost")
    breaks(
        silent_for_long,
        "lost after the tolerance|not before its tolerance",
        "an agent is lost after its tolerance",
    )
    breaks(silent_for_long, "run elsewhere", "a task of a lost agent is placed elsewhere")
    holds(all_are_silent)
    breaks(all_are_silent, "the brake holds|one is lost", "the brake holds while most agents are away")


def one_talks_nonsense(seed: int, mood: str = "agent talks rubbish") -> None:
    with script(THREE, seed, lost_after_seconds=300.0) as it:
        it.strike(mood, "a", seconds=100.0)
        tasks = it.schedule("web", 4)
        others = it.schedule("queue", 3)
        it.until(
            lambda: all(it.copies(task) for task in tasks + others) or it.elapsed() > 20.0, "placed", 25.0
        )
        elsewhere = [
            task for task in tasks + others if set(it.copies(task)) <= {"b", "c"} and it.copies(task)
        ]
        it.expect(len(elsewhere) >= 2, f"the others take tasks: {elsewhere}")
        it.until(lambda: all(map(it.runs_on, elsewhere)), "what is elsewhere runs as ever", 15.0)
        it.end()
        until_runs_anywhere(it, *tasks, *others)


def one_is_slow(seed: int) -> None:
    one_talks_nonsense(seed, "agent is slow")


def _everyone_might_hold_it(self: Copies, _job: Any) -> list[str]:
    return [name for name in self.desired.agents if self._might_hold(name)]


def test_an_agent_answers_nonsense_or_very_slowly() -> None:
    """ "Only that agent's tasks wait; the rest is unaffected"."""
    holds(one_talks_nonsense)
    holds(one_is_slow)
    breaks(
        one_talks_nonsense,
        "the others take tasks",
        off(Copies, "unknown_holders", _everyone_might_hold_it),
    )
