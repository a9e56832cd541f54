"""A rebalance: found when asked for, done like a drain, written down, and over by itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from obedient_fleet import Fleet
from rules_made import PROPERTY, job_config

from scheduling.answer import Answer
from scheduling.desired import JOB, PLACEMENT, Copy, Placement
from scheduling.draining import DrainAgent
from scheduling.durations import Duration
from scheduling.job import JobConfig, Storage
from scheduling.jobs import HaltJob
from scheduling.migrating import PutJob
from scheduling.moves import Move
from scheduling.placement import fits
from scheduling.rebalance import LEAST_GAIN, Balance, balance
from scheduling.rebalancing import BeginRebalance, CancelRebalance, open_moves
from scheduling.room import measure, need_of_job
from scheduling.update import Update


def crowded(config: JobConfig, *names: str, on: str = "a", **more: Any) -> Fleet:
    """All tasks of a job run on one agent; the others came later."""
    fleet = Fleet(on, **more)
    assert fleet.ask(PutJob(config=config)).accepted
    fleet.settle()
    for name in names:
        fleet.joins(name)
    fleet.settle()
    assert set(fleet.runs().values()) == {on}
    return fleet


def found(fleet: Fleet) -> Balance:
    return balance(fleet.desired, fleet.actual)


def begin(fleet: Fleet, seconds: float = 600.0) -> Answer:
    return fleet.ask(BeginRebalance(moves=found(fleet).moves, seconds=seconds))


def counts(fleet: Fleet) -> dict[str, int]:
    where = list(fleet.runs().values())
    return {name: where.count(name) for name in sorted(set(where))}


def test_a_plan_says_what_goes_where_and_why() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b", "c")
    told = found(fleet)
    assert [(move.source, move.target) for move in told.moves] == [("a", "b"), ("a", "c")] * 2
    assert told.moves[0].why == "a is 60% full, b 0%"
    assert [(load.agent, load.tasks, load.use) for load in told.before] == [
        ("a", 6, 0.6), ("b", 0, 0.0), ("c", 0, 0.0),
    ]  # fmt: skip
    assert [(load.tasks, load.use) for load in told.after] == [(2, 0.2)] * 3
    assert counts(fleet) == {"a": 6}, "and nothing has moved"
    assert found(fleet) == told, "the same plan each time"


def test_it_is_done_a_task_at_a_time_and_is_over_by_itself() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b", "c")
    fleet.seen.clear()
    assert begin(fleet).message == "4 tasks are moved, each job's floor kept, within 600 s"
    fleet.settle()
    assert counts(fleet) == {"a": 2, "b": 2, "c": 2}
    assert min(len(now) for now in fleet.seen) == 5, "all but max_parallel run all the time"
    row = fleet.desired.rebalance
    assert row is not None
    assert (row.over, row.reason) == (True, "4 of 4 tasks were moved")
    assert found(fleet).moves == ()
    assert begin(fleet).result == "unchanged"


def test_only_what_gains_enough_is_moved() -> None:
    fleet = crowded(job_config(scale=1, mem=500), "b")
    assert found(fleet).moves == (), "the other one would be just as full"
    assert found(crowded(job_config(scale=3, mem=20, cpu=0.01), "b")).moves == (), "it is not worth a stop"


def test_what_a_job_demands_holds() -> None:
    bound = crowded(job_config(scale=6, mem=100, constraints=["name = a"]), "b")
    assert found(bound).moves == ()
    ports = crowded(job_config("web", scale=1, mem=300, ports={"P": 80}), "b")
    ports.ask(PutJob(config=job_config("log", scale=1, mem=300, constraints=["name = a"])))
    ports.settle()
    assert [move.task for move in found(ports).moves] == [
        f"{job_config('web', scale=1, mem=300, ports={'P': 80}).hash()}-0"
    ]
    ports.ask(PutJob(config=job_config("other", mem=10, ports={"P": 80}, constraints=["name = b"])))
    ports.settle()
    assert found(ports).moves == (), "its port is taken there"


def test_distinct_hosts_stay_distinct_and_the_spread_gets_no_worse() -> None:
    fleet = Fleet()
    for name, zone in (("a", "x"), ("b", "x"), ("c", "y")):
        fleet.joins(name, labels={"zone": zone})
    fleet.ask(PutJob(config=job_config(scale=4, mem=200, spread="zone")))
    fleet.ask(PutJob(config=job_config("heavy", scale=2, mem=300, constraints=["name = c"])))
    fleet.settle()
    assert counts(fleet) == {"a": 1, "b": 1, "c": 4}, "two a zone"
    assert found(fleet).moves == ()
    alone = crowded(job_config(scale=1, mem=400, distinct_hosts=True), "b")
    alone.ask(PutJob(config=job_config("more", scale=2, mem=200, constraints=["name = a"])))
    alone.settle()
    assert [move.target for move in found(alone).moves] == ["b"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (job_config(scale=3, mem=100, update=Update(floor=3)), "keeps 3 of its 3 tasks running (floor)"),
        (
            job_config(scale=3, mem=100, storage=Storage(volumes={"/d": "/d"})),
            "has volumes, which are on its hosts",
        ),
    ],
)
def test_what_may_not_move_is_left_out_and_said(config: JobConfig, why: str) -> None:
    fleet = crowded(job_config(scale=3, mem=100), "b")
    job = fleet.job(config)
    fleet.change({(JOB, job.prefix): msgspec.structs.replace(job, config=config)})
    told = found(fleet)
    assert (told.moves, told.left_out) == ((), (f"{config.key} {why}",))


def test_what_is_stopped_migrated_or_everywhere_is_not_moved() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b")
    fleet.ask(PutJob(config=job_config(scale=6, mem=90)))
    fleet.settle(rounds=2)
    assert found(fleet).moves == ()
    assert found(fleet).left_out[0].endswith("is being migrated")
    stopped = crowded(job_config(scale=6, mem=100), "b")
    stopped.ask(HaltJob(key=job_config().key, stopped=True))
    stopped.settle()
    assert found(stopped).moves == ()
    assert found(crowded(job_config(scale="all", mem=900))).moves == ()


def test_a_closed_agent_is_neither_source_nor_target() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b", "c")
    fleet.ask(DrainAgent(agent="b", empty=False))
    assert {move.target for move in found(fleet).moves} == {"c"}
    fleet.says("c", link="stale", answered=False)
    assert found(fleet).moves == ()


def test_it_goes_where_it_was_planned_although_a_plan_of_the_job_said_otherwise() -> None:
    fleet = crowded(job_config(scale=4, mem=100), "b")
    job = fleet.job(job_config(scale=4, mem=100))
    fleet.change({(JOB, job.prefix): msgspec.structs.replace(job, planned=dict.fromkeys("0123", "a"))})
    begin(fleet)
    fleet.settle()
    assert counts(fleet) == {"a": 2, "b": 2}


def test_a_new_scheduler_goes_on() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b")
    begin(fleet)
    fleet.settle(rounds=1)
    row = fleet.desired.under_way
    assert row is not None
    assert 0 < len(open_moves(fleet.desired, row)) <= 3
    fleet.new_scheduler()
    fleet.settle()
    assert counts(fleet) == {"a": 3, "b": 3}


def test_it_is_cancelled_and_what_is_on_its_way_arrives() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b")
    begin(fleet)
    fleet.settle(rounds=1)
    assert fleet.ask(CancelRebalance(expected=1)).result == "precondition failed"
    answer = fleet.ask(CancelRebalance())
    assert answer.message == "the rebalance is cancelled by its operator, with 3 moves left"
    fleet.settle()
    assert sum(counts(fleet).values()) == 6
    assert fleet.ask(CancelRebalance()).result == "unchanged"


def test_its_time_ends() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b")
    begin(fleet, seconds=30.0)
    fleet.becomes("b", drained=True)
    fleet.settle()
    assert fleet.desired.under_way is not None
    fleet.now += 30.0
    fleet.settle()
    row = fleet.desired.rebalance
    assert row is not None
    assert row.reason == "0 of 3 tasks were moved; 3 stay, its time was over"
    assert counts(fleet) == {"a": 6}


def test_one_at_a_time_and_only_what_is_where_it_was() -> None:
    fleet = crowded(job_config(scale=6, mem=100), "b")
    moves = found(fleet).moves
    wrong = msgspec.structs.replace(moves[0], source="b", target="a")
    assert fleet.ask(BeginRebalance(moves=(wrong,), seconds=1.0)).result == "conflict"
    assert (
        fleet.ask(BeginRebalance(moves=(Move(task="x-0", source="a", target="b"),), seconds=1.0)).result
        == "conflict"
    )
    begin(fleet)
    again = fleet.ask(BeginRebalance(moves=moves, seconds=1.0))
    assert again.message == "a rebalance is under way, with 3 moves left; wait for it, or cancel it first"


def test_a_task_that_is_down_is_not_moved_for_balance() -> None:
    config = job_config(scale=3, mem=200, update=Update(max_parallel=2, min_healthy_time=Duration(0)))
    fleet = crowded(config, "b")
    begin(fleet)
    task = fleet.desired.rebalance.moves[0].task  # type: ignore[union-attr]
    fleet.says("a")
    fleet.scheduler.actual_changed({("container", "a", task): None})
    fleet.settle(rounds=1)
    assert fleet.desired.placements[task].running == "a"


@PROPERTY
@given(
    st.lists(st.tuples(st.integers(10, 300), st.integers(1, 6), st.booleans()), min_size=1, max_size=5),
    st.lists(st.integers(400, 1500), min_size=2, max_size=6),
)
def test_each_move_fits_and_improves(jobs: list[tuple[int, int, bool]], hosts: list[int]) -> None:
    fleet = Fleet()
    for number, mem in enumerate(hosts):
        fleet.joins(f"n{number}", mem=mem)
    for number, (mem, scale, alone) in enumerate(jobs):
        fleet.ask(PutJob(config=job_config(f"job{number}", scale=scale, mem=mem, distinct_hosts=alone)))
    # Packed, as nobody would.
    for job in fleet.desired.jobs.values():
        for index in job.members:
            for name in fleet.desired.agents:
                room = measure(fleet.desired.agents[name], fleet.desired, fleet.actual)
                if fits(need_of_job(job), room):
                    task = f"{job.prefix}-{index}"
                    fleet.change(
                        {(PLACEMENT, task): Placement(task=task, generation=1, copies=(Copy(name, "run"),))}
                    )
                    break
    told = found(fleet)
    rooms = {name: measure(row, fleet.desired, fleet.actual) for name, row in fleet.desired.agents.items()}
    assert len({move.task for move in told.moves}) == len(told.moves), "each task once at most"
    for move in told.moves:
        need = need_of_job(fleet.desired.jobs[move.task.rpartition("-")[0]])
        before = rooms[move.source].use
        assert fits(need, rooms[move.target])
        rooms[move.source].give_back(need)
        rooms[move.target].take(need)
        assert max(rooms[move.source].use, rooms[move.target].use) <= before - LEAST_GAIN
    assert max(load.use for load in told.after) <= max(load.use for load in told.before)
