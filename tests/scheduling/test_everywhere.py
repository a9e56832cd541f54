"""Scale `all`: one task on each agent that fits, as agents come and go and versions change."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from obedient_fleet import Fleet
from rules_made import job_config, resources

from scheduling.answer import Answer
from scheduling.desired import JOB, Drain
from scheduling.draining import DrainAgent, UndrainAgent
from scheduling.durations import Duration
from scheduling.everywhere import WritePlaces, fitting, left_out
from scheduling.job import JobConfig
from scheduling.jobs import DeleteJob, HaltJob
from scheduling.migrating import PutJob, RestartJob, RevertJob
from scheduling.migration import Migration, Standing, State, advance
from scheduling.registry import RestoreSnapshot
from scheduling.snapshot import take
from scheduling.update import Update, limits, limits_for
from scheduling.validation import problems
from scheduling.waiting import Waiting

QUICK = Update(min_healthy_time=Duration(0))


def proxy(**more: Any) -> JobConfig:
    return job_config("proxy", **{"scale": "all", "mem": 100, "update": QUICK, **more})


def put(fleet: Fleet, config: JobConfig) -> Answer:
    answer = fleet.ask(PutJob(config=config))
    assert answer.accepted, answer.message
    fleet.settle()
    return answer


def where(fleet: Fleet, config: JobConfig) -> list[str]:
    return sorted(fleet.runs(fleet.job(config).prefix).values())


def test_each_agent_that_fits_has_a_task() -> None:
    fleet = Fleet("a", "b", "c")
    fleet.joins("small", mem=50)
    put(fleet, proxy())
    assert fleet.job(proxy()).places == {0: "a", 1: "b", 2: "c"}
    assert fleet.runs() == {f"{proxy().hash()}-{index}": name for index, name in enumerate("abc")}


def test_constraints_say_which_agents_fit() -> None:
    fleet = Fleet("a")
    fleet.joins("b", labels={"zone": "x"})
    config = proxy(constraints=["zone = x"])
    put(fleet, config)
    assert where(fleet, config) == ["b"]
    fleet.becomes("a", labels={"zone": "x"})
    fleet.becomes("b", labels={"zone": "y"})
    fleet.settle()
    assert where(fleet, config) == ["a"], "a label that changes counts"


def test_a_new_agent_gets_a_task_and_the_others_keep_theirs() -> None:
    fleet = Fleet("b", "c")
    put(fleet, proxy())
    fleet.joins("a")
    fleet.settle()
    assert fleet.job(proxy()).places == {0: "b", 1: "c", 2: "a"}
    assert (where(fleet, proxy()), fleet.stopped) == (["a", "b", "c"], [])


def test_an_agent_that_has_no_room_now_is_waited_for() -> None:
    fleet = Fleet("a", "b")
    large = job_config("large", mem=950, constraints=["name = a"])
    put(fleet, large)
    put(fleet, proxy())
    assert where(fleet, proxy()) == ["b"]
    assert len(fleet.job(proxy()).members) == 2
    why = fleet.scheduler._waiting[proxy().hash()]
    assert (why.tasks, [refusal.agent for refusal in why.refusals]) == (1, ["a"])
    fleet.ask(HaltJob(key=large.key, stopped=True))
    fleet.settle()
    assert where(fleet, proxy()) == ["a", "b"]


def test_why_agents_have_none_is_told_nearest_first_and_counted() -> None:
    fleet = Fleet("a", "b")
    fleet.joins("c", labels={"zone": "x"})
    fleet.joins("d", mem=60)
    fleet.joins("e", labels={"zone": "x"}, drained=True)
    put(fleet, job_config("large", mem=950, constraints=["name = a"]))
    config = proxy(constraints=["zone = x"])
    put(fleet, config)
    why = fleet.scheduler._left_out[config.hash()]
    told = "a: has no zone; it must be x"
    assert (why.tasks, why.agents, [each.agent for each in why.refusals]) == (0, 4, ["a", "b", "d", "e"])
    assert why.reason == (
        f"4 of 5 agents do not fit; nearest: {told}; of 4 agents: 3 do not match zone = x, 1 is drained"
    )
    assert [(group.agents, group.what) for group in why.groups] == [
        (3, "do not match zone = x"),
        (1, "is drained"),
    ]
    for name in "abd":
        fleet.becomes(name, labels={"zone": "x"})
    fleet.settle()
    why = fleet.scheduler._left_out[config.hash()]
    assert why.reason == (
        "2 of 5 agents do not fit; nearest: d: short 40 MB; of 2 agents: 1 lacks memory, 1 is drained"
    )
    fleet.becomes("e", drained=False)
    fleet.says("d")
    fleet.settle()
    assert fleet.scheduler._left_out == {}


def test_what_fits_no_agent_says_so_as_other_jobs_do() -> None:
    fleet = Fleet("a", "b")
    config = proxy(mem=5000)
    put(fleet, config)
    why = fleet.scheduler._left_out[config.hash()]
    assert why.reason == "no agent fits; nearest: a: short 4000 MB; of 2 agents: 2 lack memory"
    assert left_out(fleet.job(config), (), ()) == Waiting(
        prefix=config.hash(), tasks=0, reason="there is no agent"
    )


def test_one_that_is_full_now_is_not_left_out() -> None:
    fleet = Fleet("a")
    put(fleet, job_config("large", mem=950))
    put(fleet, proxy())
    assert (fleet.scheduler._left_out, fleet.scheduler._waiting[proxy().hash()].tasks) == ({}, 1)


def test_nothing_is_left_out_of_a_job_that_is_gone() -> None:
    fleet = Fleet("a")
    config = proxy(mem=5000)
    put(fleet, config)
    fleet.ask(DeleteJob(key=config.key))
    assert fleet.scheduler.has_work, "though it has no task that anything could be said of"
    assert fleet.scheduler.decide(fleet.now).left_out == {config.hash(): None}
    assert not fleet.scheduler.has_work


def test_a_drained_agent_loses_its_task_last() -> None:
    fleet = Fleet("a", "b")
    web = job_config("web", scale=2, mem=100, constraints=["name = a"])
    put(fleet, web)
    put(fleet, proxy())
    fleet.ask(DrainAgent(agent="a"))
    fleet.settle()
    assert where(fleet, proxy()) == ["a", "b"], "web fits nowhere else, and is still watched over"
    fleet.joins("c")
    loose = msgspec.structs.replace(web, constraints=None)
    fleet.ask(PutJob(config=loose, update=QUICK))
    fleet.settle()
    assert fleet.runs() == {task: name for task, name in fleet.runs().items() if name != "a"}
    assert fleet.stopped[-1].startswith("proxy"), "it goes last"
    fleet.ask(UndrainAgent(agent="a"))
    fleet.settle()
    assert where(fleet, proxy()) == ["a", "b", "c"]


def test_a_drain_that_is_overdue_takes_everything() -> None:
    fleet = Fleet("a", "b")
    put(fleet, job_config("web", constraints=["name = a"]))
    put(fleet, proxy())
    fleet.becomes("a", drained=True, drain=Drain(since=0.0, deadline_at=fleet.now + 5.0))
    fleet.settle()
    assert where(fleet, proxy()) == ["a", "b"]
    fleet.now += 5.0
    fleet.settle()
    assert where(fleet, proxy()) == ["b"]


@pytest.mark.parametrize("row", [{"drained": True}, {"sources": ()}, {"lost_since": 900.0}])
def test_cordoned_leaving_or_lost_it_keeps_what_it_has(row: dict[str, Any]) -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    fleet.joins("c")
    fleet.becomes("c", **row)
    fleet.becomes("a", **row)
    if "lost_since" in row:
        fleet.says("a", link="stale", answered=False)
        fleet.says("c", link="stale", answered=False)
    fleet.settle()
    assert fleet.job(proxy()).places == {0: "a", 1: "b"}, "and who has nothing gets nothing"
    assert fleet.stopped == []


def test_an_agent_that_is_silent_keeps_its_task_and_no_other_gets_it() -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    fleet.says("a", link="stale", answered=False, has=resources(mem=10))
    fleet.settle()
    assert fleet.job(proxy()).places == {0: "a", 1: "b"}
    fleet.says("a")
    fleet.settle()
    assert (where(fleet, proxy()), fleet.stopped) == (["a", "b"], [])


def test_a_lost_agent_that_returns_goes_on_with_the_same_task() -> None:
    fleet = Fleet("a", "b", "c", "d")
    put(fleet, proxy())
    fleet.says("a", link="stale", answered=False)
    fleet.now += 100
    fleet.settle()
    fleet.now += 100
    fleet.settle()
    assert fleet.desired.agents["a"].lost_since is not None
    fleet.says("a")
    fleet.settle()
    assert (where(fleet, proxy()), fleet.stopped) == (["a", "b", "c", "d"], [])


def test_an_agent_that_is_gone_has_no_place() -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    fleet.change({("agent", "a"): None})
    fleet.settle()
    assert fleet.job(proxy()).places == {1: "b"}
    fleet.joins("n")
    fleet.settle()
    assert fleet.job(proxy()).places == {0: "n", 1: "b"}, "the lowest index that is free"


def test_a_migration_rolls_agent_by_agent() -> None:
    fleet = Fleet("a", "b", "c", "d")
    put(fleet, proxy(update=msgspec.structs.replace(QUICK, max_parallel=2)))
    newer = proxy(env={"A": "1"}, ports={"P": 80}, update=msgspec.structs.replace(QUICK, max_parallel=2))
    fleet.seen.clear()
    put(fleet, newer)
    assert where(fleet, newer) == ["a", "b", "c", "d"]
    assert min(len(set(r.values())) for r in fleet.seen) == 2, "two at a time, and no more"
    assert max(len(now) for now in fleet.seen) == 4, "never two on one agent"
    assert fleet.job(newer).places == {0: "a", 1: "b", 2: "c", 3: "d"}
    (row,) = fleet.desired.migrations.values()
    assert (row.state, row.old_scale, row.new_scale) == (State.DONE, 4, 4)


def test_a_migration_goes_on_while_agents_come_and_are_drained() -> None:
    fleet = Fleet("a", "b", "c", "d")
    put(fleet, proxy())
    newer = proxy(env={"A": "1"})
    fleet.ask(PutJob(config=newer))
    fleet.settle(rounds=3)
    fleet.joins("e")
    fleet.ask(DrainAgent(agent="d"))
    fleet.settle(rounds=2)
    fleet.becomes("c", lost_since=900.0)
    fleet.says("c", link="stale", answered=False)
    fleet.settle()
    (row,) = fleet.desired.migrations.values()
    assert (row.state, where(fleet, newer)) == (State.DONE, ["a", "b", "e"])


def test_one_that_can_not_run_is_brought_back() -> None:
    fleet = Fleet("a", "b", "c")
    put(fleet, proxy())
    large = proxy(env={"A": "1"}, mem=980)
    put(fleet, job_config("web", scale=3, mem=100, distinct_hosts=True))
    put(fleet, large)
    fleet.now += 400.0
    fleet.settle()
    (row,) = fleet.desired.migrations.values()
    assert (row.state, where(fleet, proxy())) == (State.REVERTED, ["a", "b", "c"])
    assert row.reason.startswith("nothing went forward")


def test_from_a_number_to_all_and_back_is_a_migration() -> None:
    fleet = Fleet("a", "b", "c", "d")
    few = proxy(scale=2)
    put(fleet, few)
    assert put(fleet, proxy()).migration
    assert where(fleet, proxy()) == ["a", "b", "c", "d"]
    assert fleet.ask(RevertJob(key=few.key)).migration
    fleet.settle()
    assert len(where(fleet, few)) == 2


def test_a_migration_to_fewer_agents_ends() -> None:
    fleet = Fleet("a", "b", "c", "d")
    put(fleet, proxy())
    narrow = proxy(constraints=["name in a, b"])
    put(fleet, narrow)
    assert (where(fleet, narrow), fleet.runs(proxy().hash())) == (["a", "b"], {})


def test_a_restart_keeps_each_index_with_its_agent() -> None:
    fleet = Fleet("c", "b")
    put(fleet, proxy())
    fleet.joins("a")
    fleet.settle()
    before = fleet.job(proxy())
    fleet.ask(RestartJob(key=before.config.key))
    fleet.settle()
    after = fleet.job(proxy())
    assert (before.prefix != after.prefix, before.places) == (True, after.places)


def test_a_stopped_job_has_no_tasks_and_the_policy_restarts_nothing() -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    put(fleet, proxy(update=Update(max_parallel=2)))
    assert fleet.stopped == []
    fleet.ask(HaltJob(key=proxy().key, stopped=True))
    fleet.settle()
    assert where(fleet, proxy()) == []
    fleet.ask(HaltJob(key=proxy().key, stopped=False))
    fleet.settle()
    assert where(fleet, proxy()) == ["a", "b"]


def test_a_restored_job_finds_each_task_where_it_runs() -> None:
    fleet = Fleet("b")
    put(fleet, proxy())
    fleet.joins("a")
    fleet.settle()
    saved = take(fleet.desired, fleet.version, "")
    for task in list(fleet.desired.placements):
        fleet.scheduler.desired_changed({("placement", task): None})
    fleet.change({(JOB, proxy().hash()): None})
    fleet.ask(RestoreSnapshot(jobs=saved.jobs, agents=saved.agents))
    fleet.settle()
    assert fleet.job(proxy()).places == {0: "b", 1: "a"}
    assert (where(fleet, proxy()), fleet.stopped) == (["a", "b"], [])


def test_what_is_decided_on_old_places_is_refused() -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    answer = fleet.ask(WritePlaces(prefix=proxy().hash(), agents=("a",), expected=None))
    assert answer.result == "conflict"
    assert where(fleet, proxy()) == ["a", "b"]


def test_nothing_is_written_when_nothing_changes() -> None:
    fleet = Fleet("a", "b")
    put(fleet, proxy())
    fleet.says("a")
    at = fleet.version
    fleet.settle()
    assert fleet.version == at
    job = fleet.job(proxy())
    rooms = fleet.scheduler.rooms.all()
    assert fitting(job, fleet.desired, fleet.actual, rooms, fleet.now) == ("a", "b")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"spread": "zone"}, "spread"),
        ({"distinct_hosts": True}, "distinct_hosts"),
        ({"update": Update(floor=1)}, "update.floor"),
    ],
)
def test_what_means_nothing_with_all_is_refused(more: dict[str, Any], field: str) -> None:
    assert [problem.field for problem in problems(proxy(**more))] == [field]


def test_the_hash_is_of_the_word() -> None:
    assert proxy().canonical().startswith(b'{"scale":"all",')
    assert proxy().hash() != proxy(scale=1).hash()


def test_the_limits_follow_the_number_of_agents() -> None:
    ten = limits(Update(max_parallel=3), 10, 10, everywhere=True)
    assert (ten.floor, ten.ceiling) == (7, 10)
    fewer = limits_for(ten, (10, 10), (10, 4))
    assert (fewer.floor, fewer.ceiling) == (1, 10)
    more = limits_for(ten, (10, 10), (12, 12))
    assert (more.floor, more.ceiling) == (7, 12)


def test_a_drain_that_can_not_go_on_says_why() -> None:
    fleet = Fleet("a", "b")
    whole = job_config("whole", mem=100, constraints=["name = a"], update=Update(floor=1))
    bound = job_config("bound", mem=100, constraints=["name = a"])
    for config in (whole, bound, proxy()):
        put(fleet, config)
    fleet.ask(DrainAgent(agent="a"))
    told = fleet.settle()
    assert told["a"] is not None
    assert (told["a"].tasks, told["a"].why) == (
        3,
        {
            f"{bound.hash()}-0": "no agent fits; nearest: b: name is b; it must be a; "
            "of 2 agents: 1 does not match name = a, 1 is drained",
            f"{proxy().hash()}-0": "its job has a task on each agent; it goes last",
            f"{whole.hash()}-0": f"{whole.key} runs 1 tasks, and 1 is the least (floor); "
            "only a restart of the job can move it, by its surge",
        },
    )
    fleet.ask(UndrainAgent(agent="a"))
    assert fleet.settle()["a"] is None, "and no longer when it is over"


def test_a_new_task_comes_first_where_the_old_one_is_gone() -> None:
    """Beside the old one its port may be taken, and the migration would wait for itself."""
    numbers = limits(Update(), 3, 3, everywhere=True)
    row = Migration(
        id="m-1", key=proxy().key, old="old", new="new", old_hash="old", new_hash="new",
        old_scale=3, new_scale=3, limits=numbers, old_wanted=(0, 1),
    )  # fmt: skip
    all_of, two = frozenset({0, 1, 2}), frozenset({0, 1})
    old = Standing(there=two, running=two, healthy=two, members=all_of)
    new = Standing(down=all_of, members=all_of)
    stepped = advance(row, old, new, 0.0, 0.0)
    assert stepped is not None
    assert (stepped.old_wanted, stepped.new_wanted) == ((0, 1), (2,))


def test_a_migration_does_not_wait_for_the_task_of_a_lost_agent() -> None:
    """It can run nowhere else, so nothing of it is on its way: the last old task may go."""
    row = Migration(
        id="m-1", key=proxy().key, old="old", new="new", old_hash="old", new_hash="new",
        old_scale=2, new_scale=2, limits=limits(Update(), 2, 2, everywhere=False),
        old_wanted=(1,), new_wanted=(0, 1),
    )  # fmt: skip
    row = msgspec.structs.replace(row, limits=msgspec.structs.replace(row.limits, floor=1, max_parallel=1))
    last, first = frozenset({1}), frozenset({0})
    old = Standing(there=last, running=last, healthy=last)
    new = Standing(there=first, running=first, healthy=first, down=last, members=first)
    stepped = advance(row, old, new, 0.0, 0.0)
    assert stepped is not None
    assert (stepped.old_wanted, stepped.new_wanted) == ((), (0, 1))
