"""How the tasks of a version stand: what is proven, what is unknown, and what has failed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from rules_made import agent, instance, job_config, placement, report, status, version_of

from config.bounds import MOST_FAILURES, MOST_RESTARTS
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual, ContainerReport
from scheduling.container import ContainerInstance, ExitStatus, ProcessState, TaskHealth
from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Desired
from scheduling.failures import Failures
from scheduling.job import task_id
from scheduling.lifecycle import Phase
from scheduling.migration import Standing
from scheduling.replica import Changes
from scheduling.standing import Health, failing, obstacle, standing

WEB = version_of(job_config(scale=2))
TASK = task_id(WEB.prefix, 0)
NONE: frozenset[int] = frozenset()
ONE, BOTH = frozenset({0}), frozenset({0, 1})


class Scene:
    """One version of two tasks on agent a, seen again and again with the same memory."""

    def __init__(self) -> None:
        self.desired, self.actual, self.health = Desired(), Actual(), Health()
        self.desired.apply({(AGENT, name): agent(name) for name in "ab"} | {(JOB, WEB.prefix): WEB})
        self.actual.apply({(ACTUAL_AGENT, name): status(name) for name in "ab"})

    def row(self, *copies: tuple[str, Any], **more: Any) -> Scene:
        self.desired.apply({(PLACEMENT, TASK): placement(TASK, *copies, **more)})
        return self

    def says(self, one: ContainerReport | None, name: str = "a") -> Scene:
        self.actual.apply({(CONTAINER, name, TASK): one})
        return self

    def change(self, changes: Changes) -> Scene:
        self.desired.apply({key: value for key, value in changes.items() if key[0] == AGENT})
        return self

    def stands(self, now: float = 0.0, wanted: tuple[int, ...] = (0,)) -> Standing:
        return standing(
            WEB.prefix, wanted, self.desired, self.actual, self.health, min_healthy_seconds=5.0, now=now
        )


def process(**state: Any) -> ContainerInstance:
    return msgspec.structs.replace(instance(TASK), process_state=ProcessState(**({"up": True} | state)))


def test_without_a_row_a_wanted_task_is_down() -> None:
    stands = Scene().stands(wanted=(0, 1))
    assert (stands.there, stands.down) == (NONE, BOTH)


def test_one_that_runs_is_running_and_healthy_after_its_time() -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK, goal="run"))
    for now, healthy in ((100.0, False), (104.9, False), (105.0, True)):
        stands = scene.stands(now)
        assert (stands.there, stands.running, stands.down) == (ONE, ONE, NONE)
        assert stands.healthy == (ONE if healthy else NONE)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.RUNNING])
def test_in_any_other_phase_it_is_down_but_there(phase: Phase) -> None:
    stands = Scene().row(("a", "run")).says(report("a", TASK, phase, goal="run")).stands()
    assert (stands.there, stands.running, stands.down) == (ONE, NONE, ONE)


@pytest.mark.parametrize(
    "one",
    [None, report("a", TASK, goal="stop"), report("a", TASK, instance=process(restarting=True))],
    ids=["not reported", "told to stop", "between two runs"],
)
def test_what_does_not_run_is_down(one: ContainerReport | None) -> None:
    stands = Scene().row(("a", "run")).says(one).stands()
    assert (stands.there, stands.running, stands.down) == (ONE, NONE, ONE)


def test_a_copy_to_be_stopped_is_there_and_does_not_count_as_running() -> None:
    stands = Scene().row(("a", "stop")).says(report("a", TASK)).stands(wanted=())
    assert (stands.there, stands.running, stands.down) == (ONE, NONE, ONE)


@pytest.mark.parametrize(("link", "answered"), [("stale", True), ("stale", False), ("connecting", False)])
def test_on_an_agent_that_is_not_heard_it_is_unknown(link: Any, answered: bool) -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK))
    scene.actual.apply({(ACTUAL_AGENT, "a"): status("a", link, answered)})
    stands = scene.stands()
    assert (stands.there, stands.running, stands.down, stands.healthy) == (
        ONE,
        NONE,
        NONE,
        NONE,
    )


def test_on_a_lost_agent_it_is_down_and_not_there() -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK))
    scene.change({(AGENT, "a"): agent("a", lost_since=1.0)})
    stands = scene.stands()
    assert (stands.there, stands.running, stands.down) == (NONE, NONE, ONE)
    scene.row(("a", "stop"), ("b", "run")).says(report("b", TASK), "b")
    stands = scene.stands()
    assert (stands.there, stands.running) == (ONE, ONE), "its replacement runs"


def test_each_restart_and_each_move_begins_its_time_anew() -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK, instance=process(restarts=0)))
    scene.stands(0.0)
    assert scene.stands(9.0).healthy
    scene.says(report("a", TASK, instance=process(restarts=1)))
    assert not scene.stands(10.0).healthy
    assert scene.stands(15.0).healthy
    scene.row(("b", "run")).says(report("b", TASK, instance=process(restarts=1)), "b")
    assert not scene.stands(16.0).healthy


def checked(state: str) -> ContainerReport:
    """What is reported of a task with health checks."""
    told = msgspec.structs.replace(process(), health=TaskHealth(state=state))
    return report("a", TASK, instance=told)


def test_one_with_health_checks_is_healthy_when_these_say_so_too() -> None:
    scene = Scene().row(("a", "run")).says(checked("starting"))
    scene.stands(0.0)
    for state in ("starting", "healthy", "unhealthy", "healthy", "nonsense"):
        stands = scene.says(checked(state)).stands(100.0)
        assert (stands.running, stands.down) == (ONE, NONE), "it runs all the same"
        assert stands.healthy == (ONE if state == "healthy" else NONE), state
    assert not Scene().row(("a", "run")).says(checked("healthy")).stands(0.0).healthy, "nor before its time"


def test_one_that_was_down_in_between_begins_anew() -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK))
    scene.stands(0.0)
    scene.says(report("a", TASK, Phase.ENDED)).stands(4.0)
    scene.says(report("a", TASK))
    assert not scene.stands(6.0).healthy
    assert scene.stands(11.0).healthy


def test_a_new_memory_lets_it_prove_itself_again() -> None:
    scene = Scene().row(("a", "run")).says(report("a", TASK))
    scene.stands(0.0)
    scene.health = Health()
    assert not scene.stands(100.0).healthy
    scene.stands(101.0)
    scene.health.forget_all_but(set())
    assert not scene.stands(110.0).healthy, "nor one that was of no interest any more"


# --- failing --------------------------------------------------------------------------------------------


def failed(times: int, at: float = 100.0) -> Failures:
    failures = Failures()
    for number in range(times):
        row = placement(TASK, ("a", "run"), generation=number + 1)
        failures.note(row, "a", "it ended with status 3", at)
    return failures


def why(scene: Scene, failures: Failures, since: float = 0.0, *, resumed: bool = False) -> dict[int, str]:
    return failing(
        WEB.prefix, (0,), scene.desired, scene.actual, failures, scene.health, since, resumed=resumed
    )


def test_one_that_was_given_up_often_enough_is_failing() -> None:
    scene = Scene()
    assert why(scene, failed(MOST_FAILURES - 1)) == {}
    assert why(scene, failed(MOST_FAILURES)) == {
        0: f"{TASK} failed {MOST_FAILURES} times, last on a: it ended with status 3"
    }
    assert why(scene, failed(MOST_FAILURES), since=100.1) == {}, "what was before does not count"


def test_one_that_its_agent_restarts_again_and_again_is_failing_with_the_end_of_its_log() -> None:
    def restarted(times: int) -> ContainerReport:
        said = msgspec.structs.replace(
            process(
                up=False,
                restarting=True,
                restarts=times,
                container_exit_status=ExitStatus(exited=True, exit_status=3),
            ),
            last_lines=["Traceback", "ValueError: no database"],
        )
        return report("a", TASK, goal="run", instance=said)

    scene = Scene().row(("a", "run")).says(restarted(MOST_RESTARTS - 1))
    assert why(scene, Failures()) == {}
    scene.says(restarted(MOST_RESTARTS))
    assert why(scene, Failures()) == {
        0: f"{TASK} was restarted {MOST_RESTARTS} times on a: it ended with status 3; its last lines: "
        "Traceback | ValueError: no database"
    }


def test_how_it_ended_last_is_told_though_it_runs_again_by_now() -> None:
    """Its agent tells it no more then; and of a liveness check that failed a signal alone says nothing."""
    ended = ExitStatus(signaled=True, signal=15)
    unwell = "ended because it was not healthy: TCP check of port 1"
    down = process(up=False, restarting=True, restarts=2, err=unwell, container_exit_status=ended)
    scene = Scene().row(("a", "run")).says(report("a", TASK, goal="run", instance=down))
    assert why(scene, Failures()) == {}
    again = report("a", TASK, goal="run", instance=process(restarts=MOST_RESTARTS))
    found = {0: f"{TASK} was restarted {MOST_RESTARTS} times on a: it ended by signal 15 ({unwell})"}
    assert why(scene.says(again), Failures()) == found
    scene.health.forget_all_but(set())
    assert why(scene, Failures())[0].endswith("it does not stay up"), "who has not seen it can't tell"


def blocked(**said: Any) -> str:
    """What keeps a task from being healthy of which this is reported."""
    changes = {name: said.pop(name) for name in ("health", "last_lines") if name in said}
    told = msgspec.structs.replace(process(**said), **changes)
    scene = Scene().row(("a", "run")).says(report("a", TASK, goal="run", instance=told))
    return obstacle(WEB.prefix, (0,), scene.desired, scene.actual, Failures())


def test_what_keeps_it_from_being_healthy_is_told() -> None:
    assert blocked() == ""
    assert blocked(restarts=2) == f"{TASK} was restarted 2 times on a: it does not stay up"
    assert blocked(health=TaskHealth(state="starting")) == (
        f"{TASK} is starting on a: not all of its health checks have passed"
    )
    ill = TaskHealth(state="unhealthy", failures=3, last="TCP check of port 1: refused")
    assert blocked(health=ill, restarts=2, last_lines=["no such table"]) == (
        f"{TASK} is unhealthy on a: TCP check of port 1: refused; its last lines: no such table"
    )
    assert blocked(health=TaskHealth(state="healthy")) == ""


def test_what_is_told_to_stop_or_is_elsewhere_does_not_fail() -> None:
    said = process(restarts=MOST_RESTARTS)
    scene = Scene().row(("a", "run")).says(report("a", TASK, goal="stop", instance=said))
    assert why(scene, Failures()) == {}
    scene.row(("b", "run")).says(report("a", TASK, goal="run", instance=said))
    assert why(scene, Failures()) == {}
    assert scene.desired.placements[TASK].copies == (Copy("b", "run"),)


def test_restarts_before_a_resume_do_not_count_again() -> None:
    scene = Scene().row(("a", "run"))

    def after(restarts: int) -> dict[int, str]:
        there = process(up=False, restarting=True, restarts=restarts)
        scene.says(report("a", TASK, goal="run", instance=there))
        return why(scene, Failures(), since=50.0, resumed=True)

    assert after(MOST_RESTARTS) == {}
    assert after(2 * MOST_RESTARTS - 1) == {}
    assert 0 in after(2 * MOST_RESTARTS)


def test_one_that_has_ended_as_it_was_meant_to_is_down_and_good() -> None:
    done = msgspec.structs.replace(
        process(up=False, container_exit_status=ExitStatus(exited=True)), status="finished"
    )
    done = msgspec.structs.replace(done, config=msgspec.structs.replace(done.config, restart="no"))
    scene = Scene().row(("a", "run")).says(report("a", TASK, Phase.ENDED, goal="run", instance=done))
    stands = scene.stands()
    assert (stands.down, stands.healthy, stands.running) == (ONE, ONE, NONE)
    assert why(scene, Failures()) == {}


def test_one_that_failed_in_its_only_try_is_failing_at_once_with_the_end_of_its_log() -> None:
    ended = ExitStatus(exited=True, exit_status=5)
    failed_once = msgspec.structs.replace(
        process(up=False, container_exit_status=ended), status="finished", last_lines=["no such table"]
    )
    config = msgspec.structs.replace(failed_once.config, restart="no")
    failed_once = msgspec.structs.replace(failed_once, config=config)
    scene = Scene().row(("a", "run")).says(report("a", TASK, Phase.ENDED, goal="run", instance=failed_once))
    assert why(scene, Failures()) == {
        0: f"{TASK} ended on a: it ended with status 5; its last lines: no such table"
    }
