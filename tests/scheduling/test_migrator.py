"""The scheduler's part in migrations: what it remembers, and what a new one does not."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from rules_made import agent, instance, job_config, placement, report, status, version_of

from config.bounds import MOST_RESTARTS
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual
from scheduling.container import ExitStatus, ProcessState
from scheduling.desired import AGENT, JOB, MIGRATION, PLACEMENT, Copy, Desired
from scheduling.failures import Failures
from scheduling.job import task_id
from scheduling.lifecycle import Phase
from scheduling.migrating import StepMigration
from scheduling.migration import Migration, State
from scheduling.migrator import Migrator
from scheduling.placement import least_used
from scheduling.registry import WritePlacement
from scheduling.scheduler import Scheduler
from scheduling.update import Update, limits

OLD, NEW = version_of(job_config(scale=1)), version_of(job_config(scale=1, mem=65))
ROW = Migration(
    id="m-9",
    key=OLD.config.key,
    old=OLD.prefix,
    new=NEW.prefix,
    old_hash=OLD.hash,
    new_hash=NEW.hash,
    old_scale=1,
    new_scale=1,
    limits=limits(Update(), 1, 1),
    old_wanted=(0,),
    new_wanted=(0,),
    generation=9,
)


class Scene:
    """A migration of one task, with both its tasks placed on a."""

    def __init__(self, row: Migration = ROW, phase: Phase = Phase.RUNNING, **process: Any) -> None:
        self.desired, self.actual = Desired(), Actual()
        self.desired.apply({(AGENT, "a"): agent("a"), (JOB, OLD.prefix): OLD, (JOB, NEW.prefix): NEW})
        self.actual.apply({(ACTUAL_AGENT, "a"): status("a")})
        for job in (OLD, NEW):
            task = task_id(job.prefix, 0)
            self.desired.apply({(PLACEMENT, task): placement(task, ("a", "run"))})
            self.actual.apply({(CONTAINER, "a", task): report("a", task, goal="run")})
        self.write(row)
        self.new_is(phase, **process)
        self.migrator = Migrator()

    def write(self, row: Migration) -> None:
        self.desired.apply({(MIGRATION, row.id): row})

    def new_is(self, phase: Phase, lines: tuple[str, ...] = (), **process: Any) -> None:
        task = task_id(NEW.prefix, 0)
        state = ProcessState(**({"up": True} | process))
        said = msgspec.structs.replace(instance(task), process_state=state, last_lines=list(lines))
        self.actual.apply({(CONTAINER, "a", task): report("a", task, phase, goal="run", instance=said)})

    def steps(self, now: float) -> list[StepMigration]:
        return self.migrator.steps(self.desired, self.actual, Failures(), now)


def test_a_step_is_due_once_the_new_one_has_run_for_long_enough() -> None:
    scene = Scene()
    assert scene.steps(100.0) == scene.steps(104.0) == []
    (step,) = scene.steps(105.0)
    assert (step.expected, step.migration.old_wanted) == (9, ())
    assert scene.steps(106.0)[0].migration.old_wanted == (), "until it is written it stays due"


def test_a_restart_takes_its_time_again() -> None:
    scene = Scene()
    scene.steps(100.0)
    scene.new_is(Phase.RUNNING, restarts=1)
    assert scene.steps(104.0) == []
    assert scene.steps(108.0) == []
    assert len(scene.steps(109.0)) == 1


def test_one_that_is_being_restarted_is_not_healthy_whatever_its_phase() -> None:
    scene = Scene()
    scene.steps(100.0)
    scene.new_is(Phase.RUNNING, restarting=True, up=False)
    assert scene.steps(200.0) == []


def test_a_new_scheduler_lets_them_prove_themselves_again() -> None:
    scene = Scene()
    scene.steps(100.0)
    scene.migrator = Migrator()
    assert scene.steps(200.0) == []
    assert len(scene.steps(205.0)) == 1


def test_the_time_without_a_scheduler_does_not_count_against_the_deadline() -> None:
    scene = Scene(phase=Phase.STARTING)
    assert scene.steps(100.0) == scene.steps(400.0) == []
    scene.migrator = Migrator()
    assert scene.steps(5000.0) == scene.steps(5300.0) == []
    (step,) = scene.steps(5300.1)
    assert (step.migration.state, step.migration.reason) == (
        State.REVERTING,
        f"nothing went forward for 300 s: {NEW.prefix}-0 is starting on a",
    )


def test_whatever_goes_forward_begins_the_deadline_anew() -> None:
    scene = Scene(phase=Phase.STARTING)
    scene.steps(100.0)
    scene.desired.apply({(PLACEMENT, task_id(OLD.prefix, 0)): None})  # the old one is gone: that is progress
    assert scene.steps(390.0) == []
    assert scene.steps(690.0) == []
    assert len(scene.steps(690.1)) == 1


def test_the_time_of_a_pause_does_not_count_against_the_deadline() -> None:
    scene = Scene(phase=Phase.STARTING)
    scene.steps(100.0)
    scene.write(msgspec.structs.replace(ROW, paused=True, generation=10))
    assert scene.steps(200.0) == scene.steps(9000.0) == []
    scene.write(msgspec.structs.replace(ROW, generation=11))
    assert scene.steps(9001.0) == scene.steps(9301.0) == []
    assert len(scene.steps(9301.1)) == 1


CRASHING: dict[str, Any] = {
    "up": False,
    "restarting": True,
    "restarts": MOST_RESTARTS,
    "container_exit_status": ExitStatus(exited=True, exit_status=2),
}


def test_one_that_crashes_turns_it_back_with_its_last_lines() -> None:
    scene = Scene()
    scene.new_is(Phase.RUNNING, lines=("loading", "no such table"), **CRASHING)
    (step,) = scene.steps(100.0)
    assert step.migration.state is State.REVERTING
    assert step.migration.reason == (
        f"{task_id(NEW.prefix, 0)} was restarted {MOST_RESTARTS} times on a: it ended with status 2; "
        "its last lines: loading | no such table"
    )


def test_one_that_crashed_and_is_well_now_has_not_failed() -> None:
    """So a failed migration can be resumed once its tasks have come to terms with whatever it was."""
    scene = Scene()
    scene.new_is(Phase.RUNNING, restarts=MOST_RESTARTS)
    (step,) = scene.steps(100.0)
    assert step.migration.state is State.REVERTING, "it may crash again at once"
    scene.write(msgspec.structs.replace(ROW, state=State.FAILED))
    assert scene.steps(105.0) == []
    scene.write(ROW)
    (step,) = scene.steps(105.0)
    assert (step.migration.state, step.migration.old_wanted) == (State.RUNNING, ())


def test_at_its_end_also_a_task_beyond_the_scale_is_stopped() -> None:
    """The job was restored to a smaller scale meanwhile, while the migration wanted what had been."""
    scene = Scene()
    beyond = task_id(OLD.prefix, 1)
    wide = msgspec.structs.replace(ROW, old_wanted=(0, 1), old_scale=2, state=State.REVERTING)
    scheduler = Scheduler(least_used, Random(0))
    scheduler.desired_changed({(AGENT, "a"): agent("a"), (JOB, OLD.prefix): OLD, (MIGRATION, ROW.id): wide})
    scheduler.desired_changed({(PLACEMENT, beyond): placement(beyond, ("a", "run"))})
    scheduler.actual_changed({(ACTUAL_AGENT, "a"): scene.actual.agents["a"]})
    scheduler.decide(0.0)
    scheduler.desired_changed({(MIGRATION, ROW.id): msgspec.structs.replace(wide, state=State.REVERTED)})
    writes = [write for write in scheduler.decide(1.0).writes if isinstance(write, WritePlacement)]
    assert [write.copies for write in writes if write.task == beyond] == [(Copy("a", "stop"),)]


def test_what_is_over_is_forgotten() -> None:
    scene = Scene()
    scene.steps(100.0)
    scene.write(msgspec.structs.replace(ROW, state=State.DONE))
    assert scene.steps(101.0) == []
    scene.write(ROW)
    assert scene.steps(200.0) == [], "and begins anew, should it come again"


def test_an_outage_lets_no_deadline_pass() -> None:
    scene = Scene(phase=Phase.STARTING)
    nothing = Failures()
    for now in (100.0, 300.0, 500.0, 700.0):
        assert scene.migrator.steps(scene.desired, scene.actual, nothing, now, outage=True) == []
    assert scene.steps(701.0) == []
    (step,) = scene.steps(1002.0)
    assert step.migration.state is State.REVERTING
