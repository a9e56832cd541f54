"""The scheduler's rule: what it decides depends on the state alone, not on how it came to know it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from rules_made import (
    LONG_PROPERTY,
    agent,
    instance,
    job_config,
    placement,
    report,
    resources,
    status,
    version_of,
)

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, ContainerReport
from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Desired, Intent
from scheduling.durations import Duration
from scheduling.job import task_id
from scheduling.jobs import ScheduleJob, UnscheduleJob
from scheduling.lifecycle import Phase
from scheduling.migrating import Action, PutJob, RestartJob, SteerMigration
from scheduling.placement import fits
from scheduling.registry import Mutation, WritePlacement, judge
from scheduling.replica import Changes, Key
from scheduling.room import Need, Room
from scheduling.scheduler import Decisions, Scheduler
from scheduling.update import STRATEGIES, Update

WEB = version_of(job_config(scale=1))
TASK = task_id(WEB.prefix, 0)


def first_fit(need: Need, tasks: int, rooms: Sequence[Room], rng: Random) -> list[Room]:
    """An algorithm without luck: agents in the order of their names, filled up one after the other."""
    chosen: list[Room] = []
    for room in sorted(rooms, key=lambda room: room.agent):
        while len(chosen) < tasks and fits(need, room):
            room.take(need)
            chosen.append(room)
    return chosen


def told(desired: Changes, actual: Changes) -> Scheduler:
    scheduler = Scheduler(first_fit, Random(0))
    scheduler.desired_changed(desired)
    scheduler.actual_changed(actual)
    return scheduler


def settled(*reports: ContainerReport, **row: Any) -> Scheduler:
    """Agents a and b, connected, and a placement of the task (copies=, generation=)."""
    desired: Changes = {(AGENT, name): agent(name) for name in "ab"} | {(JOB, WEB.prefix): WEB}
    desired[PLACEMENT, TASK] = placement(TASK, *row["copies"], generation=row["generation"])
    actual: Changes = {(ACTUAL_AGENT, name): status(name) for name in "ab"}
    actual |= {(CONTAINER, one.agent, one.task): one for one in reports}
    return told(desired, actual)


def placed(decisions: Decisions) -> list[WritePlacement]:
    return [write for write in decisions.writes if isinstance(write, WritePlacement)]


def absent(generation: int, goal: Intent = "stop", name: str = "a") -> ContainerReport:
    return report(name, TASK, Phase.ABSENT, goal=goal, generation=generation)


STOPPING: dict[str, Any] = {"copies": [("a", "stop")], "generation": 5}


def test_a_copy_goes_when_its_absence_is_proven() -> None:
    decisions = settled(absent(5), **STOPPING).decide(0.0)
    assert decisions.writes == (WritePlacement(task=TASK, expected=5, copies=()),)


@pytest.mark.parametrize(
    "says",
    [
        absent(4),
        absent(6),
        absent(5, goal="run"),
        report("a", TASK, Phase.ABSENT, goal="", generation=0),
        report("a", TASK, Phase.UNCLEAR, goal="stop", generation=5),
        report("a", TASK, Phase.ENDED, goal="stop", generation=5),
        absent(5, name="b"),
    ],
    ids=["older", "newer", "told to run", "not told", "unclear", "ended only", "elsewhere"],
)
def test_nothing_else_proves_it(says: ContainerReport) -> None:
    assert settled(says, **STOPPING).decide(0.0).writes == ()


def test_an_agent_that_has_not_answered_proves_nothing() -> None:
    scheduler = settled(absent(5), **STOPPING)
    scheduler.actual_changed({(ACTUAL_AGENT, "a"): status("a", "stale", answered=False)})
    assert scheduler.decide(0.0).writes == ()


def test_a_copy_to_run_is_never_dropped_for_being_absent() -> None:
    assert settled(absent(5, goal="run"), copies=[("a", "run")], generation=5).decide(0.0).writes == ()


def test_a_wanted_task_that_only_stops_is_placed_once_it_is_gone() -> None:
    scheduler = settled(**STOPPING)
    assert scheduler.decide(0.0).writes == ()
    scheduler.actual_changed({(CONTAINER, "a", TASK): absent(5)})
    assert scheduler.decide(0.0).writes == (WritePlacement(task=TASK, expected=5, copies=()),)
    scheduler.desired_changed({(PLACEMENT, TASK): None})
    (write,) = placed(scheduler.decide(0.0))
    assert (write.expected, [copy.intent for copy in write.copies]) == (0, ["run"])


def test_of_several_copies_the_one_nearest_to_running_is_kept() -> None:
    desired: Changes = {(AGENT, name): agent(name) for name in "abc"} | {(JOB, WEB.prefix): WEB}
    phases = {"a": Phase.ENDED, "b": Phase.STARTING, "c": Phase.CREATED}
    actual: Changes = {(ACTUAL_AGENT, name): status(name) for name in phases}
    actual |= {(CONTAINER, name, TASK): report(name, TASK, phase) for name, phase in phases.items()}
    (write,) = placed(told(desired, actual).decide(0.0))
    assert write.copies == (Copy("a", "stop"), Copy("b", "run"), Copy("c", "stop"))


@pytest.mark.parametrize(("adopt", "agents"), [(True, ["a", "b"]), (False, ["a"])])
def test_of_an_imported_job_that_is_stopped_nothing_is_forgotten_where_nobody_has_looked(
    adopt: bool, agents: list[str]
) -> None:
    """b may hold a copy, too, and answers after that on a is gone, with the job."""
    stopped = msgspec.structs.replace(WEB, adopt=adopt, stopped=True)
    desired: Changes = {(AGENT, name): agent(name) for name in "abc"} | {(JOB, WEB.prefix): stopped}
    actual: Changes = {(ACTUAL_AGENT, name): status(name, answered=name != "b") for name in "abc"}
    actual[CONTAINER, "a", TASK] = report("a", TASK)
    (write,) = placed(told(desired, actual).decide(0.0))
    assert write.copies == tuple(Copy(name, "stop") for name in agents)


@pytest.mark.parametrize(
    "gone", [report("a", TASK, Phase.DELETING), report("a", TASK, Phase.UNCLEAR, instance=None)]
)
def test_a_container_on_its_way_out_is_not_adopted(gone: ContainerReport) -> None:
    """Also where a last request is not answered yet, and nothing is seen."""
    desired: Changes = {(AGENT, "a"): agent("a"), (AGENT, "b"): agent("b"), (JOB, WEB.prefix): WEB}
    actual: Changes = {
        (ACTUAL_AGENT, "b"): status("b"),
        (ACTUAL_AGENT, "a"): status("a", has=resources(mem=1)),
    }
    actual[CONTAINER, "a", TASK] = gone
    (write,) = placed(told(desired, actual).decide(0.0))
    assert write == WritePlacement(task=TASK, expected=0, copies=(Copy("b", "run"),)), "it is placed instead"


def test_a_write_that_was_refused_is_decided_again_with_the_room_it_had_taken() -> None:
    big = version_of(job_config(mem=200))
    desired: Changes = {(AGENT, "a"): agent("a"), (JOB, big.prefix): big}
    scheduler = told(desired, {(ACTUAL_AGENT, "a"): status("a", has=resources(mem=256))})
    writes = scheduler.decide(0.0).writes
    assert len(writes) == 1
    assert not scheduler.has_work
    scheduler.refused(writes)
    assert scheduler.has_work
    assert scheduler.decide(0.0).writes == writes


def test_nothing_is_decided_twice_when_nothing_happens() -> None:
    scheduler = settled(copies=[("a", "run")], generation=5)
    scheduler.decide(0.0)
    assert not scheduler.has_work
    scheduler.actual_changed({(ACTUAL_AGENT, "a"): status("a", has=resources(), error="")})
    assert not scheduler.has_work, "a status that says nothing new is no work"


def test_the_end_of_a_foreign_container_makes_room_for_those_who_wait() -> None:
    foreign = report(
        "a", "x-1234567-0", instance=instance("x-1234567-0", config=job_config(mem=250).container())
    )
    desired: Changes = {(AGENT, "a"): agent("a"), (JOB, WEB.prefix): WEB}
    actual: Changes = {(ACTUAL_AGENT, "a"): status("a"), (CONTAINER, "a", foreign.task): foreign}
    scheduler = told(desired, actual)
    waiting = scheduler.decide(0.0).waiting[WEB.prefix]
    assert waiting is not None
    assert waiting.reason == "no agent fits; nearest: a: short 58 MB"
    scheduler.actual_changed({(CONTAINER, "a", foreign.task): None})
    assert scheduler.has_work
    decisions = scheduler.decide(0.0)
    assert [write.copies for write in placed(decisions)] == [(Copy("a", "run"),)]
    assert decisions.waiting == {WEB.prefix: None}


# --- the incremental scheduler equals one that was just made ----------------------------------------

CONFIGS = st.builds(
    job_config,
    st.sampled_from(["web", "db"]),
    st.integers(1, 3),
    st.sampled_from([64, 100]),
    ports=st.sampled_from([None, {"P": 80}]),
)
AGENTS = st.sampled_from("abc")


class Following(RuleBasedStateMachine):
    """One scheduler follows every change; a fresh one is told the whole state each time it decides."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Desired()
        self.version = 0
        self.desired: dict[Key, Any] = {}
        self.actual: dict[Key, Any] = {}
        self.scheduler = Scheduler(first_fit, Random(0))
        self.waiting: dict[str, Any] = {}
        for name in "ab":
            self.change_desired({(AGENT, name): agent(name)})
            self.change_actual({(ACTUAL_AGENT, name): status(name)})

    def change_desired(self, changes: Changes) -> None:
        self.book.apply(changes)
        self.scheduler.desired_changed(changes)
        merge(self.desired, changes)

    def change_actual(self, changes: Changes) -> None:
        self.scheduler.actual_changed(changes)
        merge(self.actual, changes)

    def ask(self, mutation: Mutation) -> bool:
        answer, changes = judge(self.book, mutation, self.version + 1)
        self.version = answer.version
        self.change_desired(changes)
        return answer.accepted

    @rule(config=CONFIGS, adopt=st.booleans())
    def schedule(self, config: Any, adopt: bool) -> None:
        self.ask(ScheduleJob(config=config, adopt=adopt))

    @rule(scale=st.integers(1, 4), which=st.integers(0, 5))
    def rescale(self, scale: int, which: int) -> None:
        for job in list(self.book.jobs.values())[which : which + 1]:
            self.ask(PutJob(config=msgspec.structs.replace(job.config, scale=scale)))

    @rule(which=st.integers(0, 5), mem=st.sampled_from([64, 100]), strategy=st.sampled_from(STRATEGIES))
    def migrate(self, which: int, mem: int, strategy: str) -> None:
        """To a config with the other size, or a restart. What runs counts as healthy at once: time stands."""
        update = Update(strategy=strategy, min_healthy_time=Duration(0))
        for job in list(self.book.jobs.values())[which : which + 1]:
            resources = msgspec.structs.replace(job.config.resources, mem=mem)
            config = msgspec.structs.replace(job.config, resources=resources)
            same = config == job.config
            self.ask(
                RestartJob(key=config.key, update=update) if same else PutJob(config=config, update=update)
            )

    @rule(action=st.sampled_from(["pause", "resume", "abort", "promote"]))
    def steer(self, action: Action) -> None:
        for name in sorted(self.book.migrations):
            self.ask(SteerMigration(id=name, action=action))

    @rule(which=st.integers(0, 5))
    def unschedule(self, which: int) -> None:
        for prefix in list(self.book.jobs)[which : which + 1]:
            self.ask(UnscheduleJob(hash=prefix))

    @rule(
        name=AGENTS,
        what=st.sampled_from([{}, {"drained": True}, {"lost_since": 1.0}, {"labels": {"x": "y"}}]),
    )
    def agent_changes(self, name: str, what: dict[str, Any]) -> None:
        self.change_desired({(AGENT, name): agent(name, **what)})

    @rule(
        name=AGENTS,
        link=st.sampled_from(["connected", "connected", "stale", "connecting"]),
        mem=st.sampled_from([128, 200, 300]),
    )
    def link_changes(self, name: str, link: Any, mem: int) -> None:
        answered = link != "connecting"
        self.change_actual({(ACTUAL_AGENT, name): status(name, link, answered, resources(mem))})

    @rule(which=st.integers(0, 20), phase=st.sampled_from([Phase.RUNNING, Phase.ENDED, Phase.UNCLEAR]))
    def a_placed_container_is_reported(self, which: int, phase: Phase) -> None:
        for row in list(self.book.placements.values())[which : which + 1]:
            job = self.book.jobs.get(row.task.rpartition("-")[0])
            for copy in row.copies[:1]:
                there = instance(row.task, config=job.config.container() if job else None)
                self.change_actual(
                    {(CONTAINER, copy.agent, row.task): report(copy.agent, row.task, phase, instance=there)}
                )

    @rule(which=st.integers(0, 20), generation_behind=st.sampled_from([0, 0, 0, 1]))
    def a_stopped_container_is_proven_absent(self, which: int, generation_behind: int) -> None:
        for row in list(self.book.placements.values())[which : which + 1]:
            for copy in row.copies:
                if copy.intent == "stop":
                    generation = row.generation - generation_behind
                    gone = report(copy.agent, row.task, Phase.ABSENT, goal="stop", generation=generation)
                    self.change_actual({(CONTAINER, copy.agent, row.task): gone})

    @rule(name=AGENTS, config=CONFIGS, index=st.integers(0, 2))
    def a_container_appears_without_a_row(self, name: str, config: Any, index: int) -> None:
        task = task_id(config.hash(), index)
        there = instance(task, config=config.container())
        self.change_actual({(CONTAINER, name, task): report(name, task, instance=there)})

    @rule(which=st.integers(0, 20))
    def a_report_goes(self, which: int) -> None:
        reports = [key for key in self.actual if key[0] == CONTAINER]
        for key in reports[which : which + 1]:
            self.change_actual({key: None})

    @rule(which=st.integers(0, 20), name=AGENTS)
    def somebody_else_writes_a_placement(self, which: int, name: str) -> None:
        for row in list(self.book.placements.values())[which : which + 1]:
            copies = (
                *(Copy(copy.agent, "stop") for copy in row.copies if copy.agent != name),
                Copy(name, "run"),
            )
            self.ask(WritePlacement(task=row.task, expected=row.generation, copies=copies))

    @rule(refuse=st.sampled_from([False, False, True]))
    def decide(self, refuse: bool) -> None:
        decisions = self.decide_as_a_fresh_one_would()
        for number, write in enumerate(decisions.writes):
            if (refuse and number == 0) or not self.ask(write):
                self.scheduler.refused([write])

    def decide_as_a_fresh_one_would(self) -> Decisions:
        fresh = told(self.desired, self.actual).decide(0.0)
        decisions = self.scheduler.decide(0.0)
        assert decisions.writes == fresh.writes
        merge(self.waiting, decisions.waiting)
        assert self.waiting == fresh.waiting
        return decisions

    @invariant()
    def no_work_means_that_there_is_none(self) -> None:
        back = any(agent.lost_since is not None for agent in self.book.agents.values())
        if not self.scheduler.has_work and not back:  # that a lost agent is back is seen at the next waking
            # Steps of migrations are looked for at each waking, too.
            assert placed(told(self.desired, self.actual).decide(0.0)) == []

    def teardown(self) -> None:
        """Left alone it comes to rest, and then no agent is given more than it has."""
        for _ in range(10):
            if not self.scheduler.has_work:
                break
            for write in self.decide_as_a_fresh_one_would().writes:
                assert self.ask(write), "nobody else writes"
        assert not self.scheduler.has_work
        for row in self.book.placements.values():
            assert sum(copy.intent == "run" for copy in row.copies) <= 1


def merge(state: dict[Any, Any], changes: Any) -> None:
    for key, value in changes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value


TestFollowing = Following.TestCase
TestFollowing.settings = LONG_PROPERTY


def test_what_is_on_its_way_keeps_its_room_when_its_job_goes() -> None:
    """Its container may appear yet, and what it needs went with the job: nothing new until then."""
    desired: Changes = {(AGENT, "a"): agent("a"), (JOB, WEB.prefix): WEB}
    desired[PLACEMENT, TASK] = placement(TASK, ("a", "run"), generation=5)
    scheduler = told(desired, {(ACTUAL_AGENT, "a"): status("a", has=resources(mem=100))})
    other = version_of(job_config("db", mem=100))
    scheduler.desired_changed({(JOB, other.prefix): other})
    assert placed(scheduler.decide(0.0)) == [], "the room is measured: 36 MB are left"
    scheduler.desired_changed({(JOB, WEB.prefix): None})
    decisions = scheduler.decide(0.0)
    assert [write.task for write in placed(decisions)] == [TASK]
    waiting = decisions.waiting[other.prefix]
    assert waiting is not None
    assert "it is stopping a task of unknown size" in waiting.reason
