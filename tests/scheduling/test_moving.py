"""Which tasks of a drained agent move, and when: the scheduler's rule as a whole, with agents that obey."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest
from rules_made import agent, instance, job_config, placement, report, resources, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER
from scheduling.container import FINISHED, ExitStatus
from scheduling.desired import AGENT, JOB, MIGRATION, PLACEMENT, Drain, Job
from scheduling.job import JobConfig, task_id
from scheduling.lifecycle import Phase
from scheduling.migration import Migration
from scheduling.moving import moving_floor
from scheduling.placement import algorithm
from scheduling.registry import WritePlacement
from scheduling.replica import Changes
from scheduling.scheduler import Decisions, Scheduler
from scheduling.update import Update, limits

NOW = 1000.0
DRAINED = agent("a", drained=True, drain=Drain(since=NOW, deadline_at=None))
RESTART = "; only a restart of the job can move it, by its surge"
HURRIED = agent("a", drained=True, drain=Drain(since=NOW - 60.0, deadline_at=NOW))


class Cluster:
    """Agents a (drained), b and c, connected; tasks of one job that run on a unless it is said otherwise."""

    def __init__(self, config: JobConfig, drained: Any = DRAINED, **where: str) -> None:
        self.job: Job = version_of(config)
        self.desired: Changes = {(AGENT, name): agent(name) for name in "bc"}
        self.desired |= {(AGENT, "a"): drained, (JOB, self.job.prefix): self.job}
        self.actual: Changes = {(ACTUAL_AGENT, name): status(name) for name in "abc"}
        for index in self.job.members:
            self.runs(index, where.get(f"_{index}", "a"))

    def task(self, index: int) -> str:
        return task_id(self.job.prefix, index)

    def runs(self, index: int, name: str, phase: Phase = Phase.RUNNING, **more: Any) -> None:
        """This task is on that agent, in this phase."""
        task = self.task(index)
        self.desired[PLACEMENT, task] = placement(task, (name, "run"))
        told = {"goal": "run", "generation": 1, **more}
        self.actual[CONTAINER, name, task] = report(name, task, phase, **told)

    def decisions(self, now: float = NOW) -> Decisions:
        """What a scheduler that was just made decides."""
        scheduler = Scheduler(algorithm("least_used"), Random(0))
        scheduler.desired_changed(self.desired)
        scheduler.actual_changed(self.actual)
        scheduler.wake(now)
        return scheduler.decide(now)

    def told(self) -> dict[str, str]:
        """Why which tasks of a stay."""
        staying = self.decisions().staying["a"]
        assert staying is not None
        return staying.why

    def writes(self, now: float = NOW) -> dict[str, tuple[Any, ...]]:
        """The placements that it decides: by task, its copies."""
        decided = [each for each in self.decisions(now).writes if isinstance(each, WritePlacement)]
        writes = {each.task: each.copies for each in decided}
        assert len(writes) == len(decided), "one write a task"
        return writes

    def moves(self, now: float = NOW) -> list[int]:
        """The tasks that are stopped on a, by index."""
        stops = {
            task: copies
            for task, copies in self.writes(now).items()
            if all(c.intent == "stop" for c in copies)
        }
        return sorted(int(task.rpartition("-")[2]) for task in stops)

    def obeys(self, now: float = NOW) -> bool:
        """One round: what is written is done, and reported. Whether there was anything to do."""
        writes = self.writes(now)
        for task, copies in writes.items():
            index = int(task.rpartition("-")[2])
            where = [copy.agent for copy in copies if copy.intent == "run"]
            for key in [key for key in self.actual if key[0] == CONTAINER and key[2] == task]:
                del self.actual[key]
            if where:
                self.runs(index, where[0])
            else:
                del self.desired[PLACEMENT, task]  # stopped, proven, gone
        return bool(writes)

    def left(self, name: str = "a") -> list[int]:
        """The tasks that are meant to run there."""
        rows = [row for key, row in self.desired.items() if key[0] == PLACEMENT and row.running == name]
        return sorted(int(row.task.rpartition("-")[2]) for row in rows)


def web(scale: int, **update: Any) -> JobConfig:
    return job_config(scale=scale, mem=1, cpu=0.0, update=Update(**update) if update else None)


@pytest.mark.parametrize(
    ("config", "floor"),
    [
        (web(1), 0),
        (web(4), 3),
        (web(4, max_parallel=3), 1),
        (web(2, max_parallel=5), 0),
        (web(4, floor=2), 2),
    ],
)
def test_the_floor_is_that_of_the_policy_or_all_but_those_that_move_at_once(
    config: JobConfig, floor: int
) -> None:
    assert moving_floor(version_of(config)) == floor


@pytest.mark.parametrize(
    ("config", "moved"),
    [(web(1), 1), (web(4), 1), (web(4, max_parallel=3), 3), (web(4, floor=1), 1), (web(4, floor=4), 0),
     (web(4, floor=3, max_parallel=4), 1)],
)  # fmt: skip
def test_so_many_move_at_once_that_the_floor_is_kept(config: JobConfig, moved: int) -> None:
    assert len(Cluster(config).moves()) == moved


@pytest.mark.parametrize("scale", [1, 2, 5])
def test_in_the_end_it_is_empty_and_the_floor_was_kept_all_the_time(scale: int) -> None:
    cluster = Cluster(web(scale))
    while cluster.obeys():
        running = len([key for key in cluster.actual if key[0] == CONTAINER])
        assert running >= scale - 1
    assert cluster.left() == []
    assert len(cluster.left("b") + cluster.left("c")) == scale


def test_two_agents_that_are_drained_share_what_may_be_stopped() -> None:
    cluster = Cluster(web(4, max_parallel=2), _2="b", _3="b")
    cluster.desired[AGENT, "b"] = msgspec.structs.replace(DRAINED, name="b", endpoint="http://b:1")
    assert len(cluster.moves()) == 2


def test_what_is_missing_elsewhere_is_not_stopped_here() -> None:
    cluster = Cluster(web(3), _2="b")
    cluster.runs(2, "b", Phase.STARTING)
    assert cluster.moves() == []
    cluster.runs(2, "b")
    cluster.actual[ACTUAL_AGENT, "b"] = status("b", link="stale")
    assert cluster.moves() == [], "nobody knows whether it runs"


@pytest.mark.parametrize("phase", [Phase.CREATING, Phase.CREATED, Phase.STARTING])
def test_what_does_not_run_on_it_may_go_at_any_time(phase: Phase) -> None:
    """Its job has nothing less by that; a task that crashes all the time must not hold up a drain."""
    cluster = Cluster(web(3))
    cluster.runs(1, "a", phase)
    assert cluster.moves() == [1]


@pytest.mark.parametrize(
    ("surge", "more"), [(None, "; only a restart of the job can move it, by its surge"), (0, "")]
)
def test_where_the_floor_is_the_scale_it_is_said_what_moves_them(surge: int | None, more: str) -> None:
    cluster = Cluster(web(4, floor=4, surge=surge))
    told = cluster.told()
    text = f"{cluster.job.config.key} runs 4 tasks, and 4 is the least (floor){more}"
    assert told == {cluster.task(index): text for index in range(4)}


def test_what_fits_nowhere_else_stays_until_the_deadline() -> None:
    cluster = Cluster(job_config(scale=3, mem=100, update=Update(max_parallel=3)))
    for name in "bc":
        cluster.actual[ACTUAL_AGENT, name] = status(name, has=resources(mem=100 if name == "b" else 99))
    assert len(cluster.moves()) == 1, "there is room for one"
    cluster.desired[AGENT, "a"] = HURRIED
    assert cluster.moves(NOW - 1.0) == cluster.moves(NOW - 0.001)
    assert cluster.moves(NOW) == [0, 1, 2]


def test_once_it_is_over_neither_floor_nor_migration_keep_anything() -> None:
    cluster = Cluster(web(4), HURRIED)
    begin_migration(cluster)
    assert cluster.moves(NOW - 1.0) == []
    assert cluster.moves(NOW) == [0, 1, 2, 3]


def test_what_goes_because_its_time_is_over_is_missed_for_the_others() -> None:
    """Two agents are drained, and the time of one is over: what is on the other one waits for its tasks."""
    cluster = Cluster(web(4, max_parallel=2), HURRIED, _2="b", _3="b")
    cluster.desired[AGENT, "b"] = msgspec.structs.replace(DRAINED, name="b", endpoint="http://b:1")
    assert cluster.moves() == [0, 1]


def begin_migration(cluster: Cluster) -> None:
    """The job of the cluster is being migrated, and all of its tasks are wanted still."""
    new = version_of(web(4, floor=0, surge=0, min_healthy_time=0))
    scale, job = len(cluster.job.members), cluster.job
    new = msgspec.structs.replace(new, prefix="web-fffffff", hash="web-fffffff")
    row = Migration(
        id="m-1", key=job.config.key, old=job.prefix, new=new.prefix, old_hash=job.hash, new_hash=new.hash,
        old_scale=scale, new_scale=scale, limits=limits(Update(), scale, scale),
        old_wanted=tuple(range(scale)), paused=True,
    )  # fmt: skip
    cluster.desired |= {(JOB, new.prefix): new, (MIGRATION, row.id): row}


def test_what_is_being_migrated_is_left_to_its_steps() -> None:
    cluster = Cluster(web(4, max_parallel=4))
    assert cluster.moves() == [0, 1, 2, 3]
    begin_migration(cluster)
    assert cluster.moves() == []


def ended(index: int, cluster: Cluster) -> None:
    """This task has ended as its policy lets it."""
    task = cluster.task(index)
    there = instance(task, FINISHED, cluster.job.config.container())
    done = msgspec.structs.replace(there.process_state, container_exit_status=ExitStatus(exited=True))
    cluster.runs(index, "a", Phase.ENDED, instance=msgspec.structs.replace(there, process_state=done))


@pytest.mark.parametrize("drained", [DRAINED, HURRIED])
def test_what_has_ended_for_good_stays_and_is_not_missed(drained: Any) -> None:
    """Neither does it hold up the others: the floor is about what should run."""
    cluster = Cluster(msgspec.structs.replace(web(3), restart="no"), drained)
    ended(0, cluster)
    ended(1, cluster)
    assert cluster.moves() == [2]
    while cluster.obeys():
        pass
    assert cluster.left() == [0, 1]


def test_a_lost_agent_is_not_emptied_but_replaced() -> None:
    lost = msgspec.structs.replace(DRAINED, lost_since=NOW - 100.0)
    cluster = Cluster(web(3), lost)
    cluster.actual[ACTUAL_AGENT, "a"] = status("a", link="stale")
    assert cluster.moves() == []
    assert all(copies[-1].intent == "run" for copies in cluster.writes().values()), "all at once, elsewhere"
    assert len(cluster.writes()) == 3


def test_nothing_moves_to_an_agent_that_is_closed_and_from_one_that_is_closed_only() -> None:
    cluster = Cluster(web(2), agent("a", drained=True))
    cluster.desired[AGENT, "b"] = msgspec.structs.replace(DRAINED, name="b", endpoint="http://b:1")
    assert cluster.writes() == {}
    cluster.desired[AGENT, "a"] = DRAINED
    for name in "bc":
        cluster.desired[AGENT, name] = agent(name, drained=True)
    assert cluster.writes() == {}


def test_a_scheduler_that_is_made_anew_at_any_moment_goes_on() -> None:
    """Each round here is decided by a new one; what one has begun the next one counts."""
    cluster = Cluster(web(4))
    (first,) = cluster.moves()
    task = cluster.task(first)
    cluster.desired[PLACEMENT, task] = placement(task, ("a", "stop"), generation=2)
    assert cluster.moves() == [], "one is on its way"
    del cluster.desired[PLACEMENT, task]
    del cluster.actual[CONTAINER, "a", task]
    ((placed, copies),) = cluster.writes().items()
    assert (placed, copies[-1].intent) == (task, "run")
    assert copies[-1].agent != "a"


def test_a_drain_that_ends_leaves_what_has_moved_where_it_is() -> None:
    cluster = Cluster(web(2))
    cluster.obeys()
    cluster.obeys()
    assert cluster.left() == [1], "one was stopped, and placed elsewhere"
    cluster.desired[AGENT, "a"] = agent("a")
    assert cluster.writes() == {}
