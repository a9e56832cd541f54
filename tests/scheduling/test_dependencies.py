"""Which jobs wait for which: no circles, and nobody waits who has begun."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from rules_made import agent, instance, job_config, placement, report, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual, ContainerReport
from scheduling.container import ExitStatus, ProcessState, TaskHealth
from scheduling.dependencies import cycle, dependencies, unmet
from scheduling.desired import AGENT, JOB, MIGRATION, PLACEMENT, Desired, Job
from scheduling.job import JobConfig, JobKey, task_id
from scheduling.lifecycle import Phase
from scheduling.migration import Migration, State
from scheduling.update import Update, limits


def config(job: str, *needs: str, **more: Any) -> JobConfig:
    return job_config(job, depends_on=list(needs) or None, **more)


def jobs(*configs: JobConfig) -> Desired:
    desired = Desired()
    desired.apply({(JOB, each.hash()): version_of(each) for each in configs})
    return desired


def test_a_bare_name_is_one_of_the_same_product_and_environment() -> None:
    assert dependencies(config("web", "db", "ads/test/db")) == [
        JobKey("search", "prod", "db"),
        JobKey("ads", "test", "db"),
    ]
    assert dependencies(config("web")) == []


@pytest.mark.parametrize("length", range(1, 6))
@pytest.mark.parametrize("name", ["{}", "search/prod/{}"], ids=["bare", "full"])
def test_a_circle_of_any_length_is_found_and_told_in_order(length: int, name: str) -> None:
    names = [f"job{number}" for number in range(length)]
    ring = [config(job, name.format(names[(at + 1) % length])) for at, job in enumerate(names)]
    path = cycle(jobs(*ring[1:]), ring[0])
    assert [key.job for key in path] == [*names, "job0"]


def test_a_circle_among_others_holds_nobody_else_up() -> None:
    """Nor for ever: it can't come about by requests, but an old registry may hold one."""
    desired = jobs(config("a", "b"), config("b", "a"))
    assert cycle(desired, config("web", "a")) == []


def test_who_meets_a_job_on_two_ways_has_no_circle() -> None:
    desired = jobs(config("left", "db"), config("right", "db"), config("db"))
    assert cycle(desired, config("web", "left", "right", "nosuch")) == []


def test_the_same_name_in_another_environment_is_another_job() -> None:
    assert cycle(jobs(config("db", "web")), config("web", "db", environment="test")) == []


DB, WEB = version_of(config("db", scale=2)), version_of(config("web", "db"))


def waits(
    *rows: str,
    phases: tuple[Phase, ...] = (),
    link: str = "connected",
    db: Job | None = DB,
    health: tuple[str, ...] = (),
    reports: Sequence[ContainerReport] = (),
) -> list[str]:
    """What web waits for, with these tasks placed on a, and these phases (and health) of the two of db.

    `reports`: what is reported of them, where that takes more words.
    """
    desired, actual = Desired(), Actual()
    desired.apply({(AGENT, "a"): agent("a"), (JOB, WEB.prefix): WEB})
    if db is not None:
        desired.apply({(JOB, db.prefix): db})
    desired.apply({(PLACEMENT, task): placement(task, ("a", "run")) for task in rows})
    actual.apply({(ACTUAL_AGENT, "a"): status("a", link)})  # type: ignore[arg-type] # a word of the test
    for index, phase in enumerate(phases):
        task = task_id(DB.prefix, index)
        one = report("a", task, phase)
        if health:
            told = msgspec.structs.replace(instance(task), health=TaskHealth(state=health[index]))
            one = msgspec.structs.replace(one, instance=told)
        actual.apply({(CONTAINER, "a", task): one})
    actual.apply({(CONTAINER, "a", ROWS[index]): one for index, one in enumerate(reports)})
    return list(unmet(WEB, desired, actual))


ROWS = (task_id(DB.prefix, 0), task_id(DB.prefix, 1))
UP = (Phase.RUNNING, Phase.RUNNING)


def test_it_waits_until_all_tasks_run() -> None:
    assert waits() == ["search/prod/db runs 0 of 2 tasks"]
    assert waits(*ROWS, phases=(Phase.RUNNING, Phase.STARTING)) == ["search/prod/db runs 1 of 2 tasks"]
    assert waits(*ROWS, phases=UP) == []


def test_where_they_have_health_checks_they_must_be_healthy_too() -> None:
    half = ["search/prod/db has 1 of 2 tasks healthy"]
    assert waits(*ROWS, phases=UP, health=("healthy", "starting")) == half
    assert waits(*ROWS, phases=UP, health=("unhealthy", "healthy")) == half
    assert waits(*ROWS, phases=UP, health=("healthy", "healthy")) == []


@pytest.mark.parametrize(("status", "restart", "left"), [(0, "no", 0), (3, "no", 1), (0, "always", 1)])
def test_what_was_meant_to_end_and_has_ended_well_is_waited_for_no_more(
    status: int, restart: str, left: int
) -> None:
    """Whether anybody saw it run or it was too quick for that."""
    ended = msgspec.structs.replace(
        instance(ROWS[0], "finished", msgspec.structs.replace(DB.config.container(), restart=restart)),
        process_state=ProcessState(container_exit_status=ExitStatus(exited=True, exit_status=status)),
    )
    reports = [report("a", task, Phase.ENDED, instance=ended) for task in ROWS]
    assert len(waits(*ROWS, reports=reports)) == left
    assert waits(*ROWS, reports=reports, link="stale"), "what is not known has not ended"


def test_what_is_not_known_does_not_run() -> None:
    assert waits(*ROWS, phases=UP, link="stale") == ["search/prod/db runs 0 of 2 tasks"]
    assert waits(phases=UP) == ["search/prod/db runs 0 of 2 tasks"], "without a row it is not ours"


def test_a_job_that_is_not_there_or_is_stopped_is_waited_for() -> None:
    assert waits(db=None) == ["search/prod/db is not scheduled"]
    assert waits(db=msgspec.structs.replace(DB, stopped=True)) == ["search/prod/db is stopped"]


def test_once_begun_it_waits_no_more() -> None:
    assert waits(task_id(WEB.prefix, 0)) == []


@pytest.mark.parametrize("side", ["old", "new"])
def test_in_a_migration_only_the_new_version_waits(side: str) -> None:
    """The old one had begun, though all its tasks may be gone: it comes back whatever it depends on does."""
    desired = jobs(WEB.config, config("web", mem=9))
    other = next(prefix for prefix in desired.jobs if prefix != WEB.prefix)
    old, new = (WEB.prefix, other) if side == "old" else (other, WEB.prefix)
    row = Migration(
        id="m-1",
        key=WEB.config.key,
        old=old,
        new=new,
        old_hash=old,
        new_hash=new,
        old_scale=1,
        new_scale=1,
        limits=limits(Update(), 1, 1),
        old_wanted=(0,),
        state=State.REVERTING,
    )
    desired.apply({(MIGRATION, "m-1"): row})
    expected = [] if side == "old" else ["search/prod/db is not scheduled"]
    assert list(unmet(WEB, desired, Actual())) == expected
