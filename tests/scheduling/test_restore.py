"""Restoring a snapshot: the jobs are exactly its own, what runs goes on, and a bad one changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY, agent, job_config, placement, report, resources, status, version_of

from actors.discovery import FILE, STATIC
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER
from scheduling.answer import Answer
from scheduling.desired import AGENT, HISTORY, JOB, PLACEMENT, Agent, Copy, Desired, Job
from scheduling.history import History, Past
from scheduling.job import JobConfig, OnLost, decode_hook, encode_hook, task_id
from scheduling.jobs import ScheduleJob, UnscheduleJob
from scheduling.migrating import PutJob
from scheduling.placement import algorithm
from scheduling.registry import AgentSpec, Mutation, RestoreSnapshot, SyncAgents, WritePlacement, judge
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler
from scheduling.snapshot import DISCOVERED, SavedAgent, SavedJob, Snapshot, compare, snapshot_problems, take

WEB, DB = job_config("web", scale=2), job_config("db")
PREFIX = WEB.hash()


class Book:
    """A desired state that mutations are judged against, one version each."""

    def __init__(self, *mutations: Mutation) -> None:
        self.desired = Desired()
        self.version = 0
        for mutation in mutations:
            self.ask(mutation)

    def ask(self, mutation: Mutation) -> tuple[Answer, Changes]:
        answer, changes = judge(self.desired, mutation, self.version + 1)
        self.desired.apply(changes)
        self.version += bool(changes)
        assert answer.version == self.version
        assert answer.accepted or not changes, "a refused mutation changes nothing"
        return answer, changes

    def save(self) -> Snapshot:
        return take(self.desired, self.version, "2026-01-02T03:04:05Z")


def restoring(snapshot: Snapshot, **more: Any) -> RestoreSnapshot:
    return RestoreSnapshot(**({"jobs": snapshot.jobs, "agents": snapshot.agents} | more))


def scaled(config: JobConfig, scale: int) -> JobConfig:
    return msgspec.structs.replace(config, scale=scale)


def knows(source: str, *names: str) -> SyncAgents:
    agents = tuple(AgentSpec(name=name, endpoint=f"http://{name}:1", labels={"of": source}) for name in names)
    return SyncAgents(source=source, agents=agents)


# --- properties ---------------------------------------------------------------------------------------

# Two configs of one job, and another job, so that versions, scales and hashes get into each other's way.
CONFIGS = st.builds(
    lambda config, scale, on_lost: msgspec.structs.replace(config, scale=scale, on_lost=on_lost),
    st.sampled_from([job_config("web", mem=1), job_config("web", mem=2), job_config("db", mem=1)]),
    st.integers(1, 3),
    st.sampled_from([None, OnLost()]),
)
MUTATIONS = st.one_of(
    st.builds(lambda config: ScheduleJob(config=config), CONFIGS),
    st.builds(lambda config: PutJob(config=config), CONFIGS),
    st.builds(lambda config: UnscheduleJob(hash=config.hash()), CONFIGS),
    st.builds(
        lambda source, names: knows(source, *sorted(names)),
        st.sampled_from(["file", "static", "api"]),
        st.frozensets(st.sampled_from("abc")),
    ),
    st.builds(
        lambda config, name: WritePlacement(
            task=task_id(config.hash(), 0), expected=0, copies=(Copy(name, "run"),)
        ),
        CONFIGS,
        st.sampled_from("abc"),
    ),
)
BOOKS = st.lists(MUTATIONS, max_size=12).map(lambda mutations: Book(*mutations))


def said(jobs: dict[str, Job]) -> dict[str, tuple[str, JobConfig]]:
    return {prefix: (job.hash, job.config) for prefix, job in jobs.items()}


@PROPERTY
@given(BOOKS)
def test_restoring_what_is_there_changes_nothing(book: Book) -> None:
    before = book.save()
    answer, changes = book.ask(restoring(before))
    assert (answer.result, changes) == ("unchanged", {})
    assert book.save() == before


@PROPERTY
@given(BOOKS, BOOKS)
def test_the_jobs_are_those_of_the_snapshot_whatever_was_there_and_again_changes_nothing(
    saved: Book, now: Book
) -> None:
    snapshot = saved.save()
    before = dict(now.desired.jobs), dict(now.desired.agents), dict(now.desired.placements)
    answer, _ = now.ask(restoring(snapshot))
    assert answer.accepted, answer.message
    assert said(now.desired.jobs) == said(saved.desired.jobs)
    for prefix, job in now.desired.jobs.items():
        assert job is before[0].get(prefix) or job == Job(
            prefix=prefix,
            hash=job.hash,
            config=job.config,
            version=now.version,
            adopt=True,
            number=job.number,
        )
        past = now.desired.history[str(job.config.key)].version(job.number)
        assert past is not None and past.config == job.config
    assert {name: now.desired.agents[name] for name in before[1]} == before[1], "agents that are known stay"
    assert now.desired.placements == before[2]
    fresh = Desired()
    fresh.apply({(JOB, prefix): job for prefix, job in now.desired.jobs.items()})
    assert (now.desired.names, now.desired.by_key) == (fresh.names, fresh.by_key)
    again, nothing = now.ask(restoring(snapshot))
    assert (again.result, nothing) == ("unchanged", {})
    assert compare(now.save(), snapshot).is_empty


@PROPERTY
@given(BOOKS)
def test_a_snapshot_is_the_same_after_it_was_written_and_read(book: Book) -> None:
    snapshot = book.save()
    body = msgspec.json.encode(snapshot, enc_hook=encode_hook)
    assert msgspec.json.decode(body, type=Snapshot, dec_hook=decode_hook) == snapshot
    assert b"stopped" not in body, "snapshots without a job that is stopped are as they always were"
    assert snapshot_problems(snapshot) == []


# --- jobs ---------------------------------------------------------------------------------------------


def test_a_job_comes_back_to_be_adopted_under_its_old_prefix() -> None:
    saved = Book(PutJob(config=WEB), PutJob(config=scaled(WEB, 3)))
    empty = Book(knows("static", "a"))
    answer, changes = empty.ask(restoring(saved.save()))
    config = scaled(WEB, 3)
    assert changes == {
        (JOB, PREFIX): Job(prefix=PREFIX, hash=config.hash(), config=config, version=2, adopt=True),
        (HISTORY, str(WEB.key)): History(current=1).with_version(
            Past(number=1, hash=config.hash(), config=config)
        ),
    }
    assert answer.message == "the jobs are those of the snapshot: 1 added, 0 changed, 0 removed, 0 as before"


def test_what_is_there_already_stays_untouched_and_what_is_not_in_it_goes() -> None:
    book = Book(ScheduleJob(config=WEB), knows("static", "a"))
    snapshot = book.save()
    web = book.desired.jobs[PREFIX]
    book.ask(WritePlacement(task=task_id(PREFIX, 0), expected=0, copies=(Copy("a", "run"),)))
    book.ask(ScheduleJob(config=DB))
    answer, changes = book.ask(restoring(snapshot))
    assert (answer.result, changes) == (
        "changed",
        {(JOB, DB.hash()): None, (HISTORY, str(DB.key)): None},
    )
    assert book.desired.jobs[PREFIX] is web


def test_scale_and_policy_go_back_in_place() -> None:
    book = Book(PutJob(config=WEB))
    snapshot = book.save()
    book.ask(PutJob(config=msgspec.structs.replace(scaled(WEB, 5), on_lost=OnLost())))
    answer, changes = book.ask(restoring(snapshot))
    assert set(changes) == {(JOB, PREFIX), (HISTORY, str(WEB.key))}
    assert book.desired.jobs[PREFIX].config == WEB
    assert book.desired.history[str(WEB.key)].current == 1, "it is the first version again, and no third one"
    assert "1 changed" in answer.message


def test_a_prefix_that_stands_for_another_config_here_is_a_conflict() -> None:
    """Its tasks run something else, and would be shown as what they are not."""
    book = Book(ScheduleJob(config=WEB))
    other = job_config("web", mem=65)
    saved = SavedJob(prefix=PREFIX, hash=other.hash(), version=1, config=other)
    answer, changes = book.ask(RestoreSnapshot(jobs=(saved,), agents=()))
    text = f"the tasks of {PREFIX} run another config than in the snapshot; unschedule it first"
    assert (answer.result, answer.message, changes) == ("conflict", text, {})


def test_versions_that_come_back_together_have_one_order_everywhere() -> None:
    saved = Book(*(ScheduleJob(config=job_config(mem=number)) for number in range(1, 9)))
    book = Book()
    book.ask(restoring(saved.save()))
    assert [job.prefix for job in book.desired.versions(WEB.key)] == sorted(saved.desired.jobs)


# --- agents -------------------------------------------------------------------------------------------


def test_only_agents_that_nothing_else_brings_back_are_added() -> None:
    assert {STATIC, FILE} == DISCOVERED
    saved = Book(knows("static", "a", "b"), knows("file", "b", "c"), knows("api", "c", "d"))
    drained = msgspec.structs.replace(saved.desired.agents["d"], drained=True, lost_since=5.0)
    saved.desired.apply({(AGENT, "d"): drained})
    book = Book(knows("static", "x"))
    answer, changes = book.ask(restoring(saved.save()))
    assert changes == {
        (AGENT, "c"): Agent(
            name="c", endpoint="http://c:1", labels={"of": "api"}, sources=("api",), version=2
        ),
        (AGENT, "d"): Agent(
            name="d",
            endpoint="http://d:1",
            labels={"of": "api"},
            sources=("api",),
            drained=True,
            version=2,
        ),
    }
    assert answer.message.endswith("; agents added: c, d; agents of it that are not known here: a, b")


@pytest.mark.parametrize(("name", "endpoint"), [("a", "http://other:1"), ("other", "http://a:1")])
def test_an_agent_that_is_known_by_name_or_address_stays_as_it_is(name: str, endpoint: str) -> None:
    book = Book(knows("static", "a"))
    saved = SavedAgent(name=name, endpoint=endpoint, sources=("api",), drained=True)
    answer, changes = book.ask(RestoreSnapshot(jobs=(), agents=(saved,)))
    assert (answer.result, changes) == ("unchanged", {})


# --- refusals -----------------------------------------------------------------------------------------


def saved_job(config: JobConfig = WEB, **more: Any) -> SavedJob:
    fields: dict[str, Any] = {"prefix": config.hash(), "hash": config.hash(), "version": 1, "config": config}
    return SavedJob(**(fields | more))


def saved_agent(name: str = "a", endpoint: str = "http://a:1") -> SavedAgent:
    return SavedAgent(name=name, endpoint=endpoint, sources=("api",))


BAD: list[tuple[Callable[[], RestoreSnapshot], str]] = [
    (
        lambda: RestoreSnapshot(jobs=(saved_job(DB), saved_job(scaled(WEB, 0))), agents=()),
        "jobs[1].config.scale is 0; it must be from 1 to 1000",
    ),
    (
        lambda: RestoreSnapshot(jobs=(saved_job(hash="web-0000000"),), agents=()),
        f"jobs[0].hash is 'web-0000000'; it must be {PREFIX}, the hash of its config",
    ),
    (
        lambda: RestoreSnapshot(jobs=(saved_job(prefix="../../x"),), agents=()),
        f"jobs[0].prefix is '../../x'; it must be the name of the job and 7 hex digits, like {PREFIX}",
    ),
    (
        lambda: RestoreSnapshot(jobs=(saved_job(prefix=DB.hash()),), agents=()),
        f"jobs[0].prefix is '{DB.hash()}'; it must be the name of the job",
    ),
    (
        lambda: RestoreSnapshot(jobs=(saved_job(), saved_job()), agents=()),
        f"jobs[1].prefix is '{PREFIX}'; jobs[0] has it already; it must mean only one of them",
    ),
    (
        lambda: RestoreSnapshot(
            jobs=(saved_job(), saved_job(scaled(WEB, 3)), saved_job(scaled(WEB, 4), prefix=PREFIX)), agents=()
        ),
        f"jobs[2].prefix is '{PREFIX}'; jobs[0] has it already",
    ),
    (
        lambda: RestoreSnapshot(
            jobs=(saved_job(scaled(WEB, 3), prefix=PREFIX), saved_job(prefix="web-0000000")), agents=()
        ),
        f"jobs[1].hash is '{PREFIX}'; jobs[0] has it already",
    ),
    (lambda: RestoreSnapshot(jobs=(), agents=(saved_agent("a/b"),)), "agents[0].name is 'a/b'; it must be 1"),
    (
        lambda: RestoreSnapshot(jobs=(), agents=(saved_agent(endpoint="a:1"),)),
        "agents[0].endpoint is 'a:1'; it must be like http://a:1",
    ),
    (
        lambda: RestoreSnapshot(jobs=(), agents=(saved_agent(endpoint="ftp://a"),)),
        "agents[0].endpoint is 'ftp://a'; it must be like http://10.0.0.7:3333",
    ),
    (
        lambda: RestoreSnapshot(jobs=(), agents=(saved_agent(), saved_agent("b"))),
        "agents[1].endpoint is 'http://a:1'; agents[0] has it already",
    ),
]


@pytest.mark.parametrize(("bad", "text"), BAD, ids=[text.partition(";")[0] for _, text in BAD])
def test_a_bad_snapshot_changes_nothing_and_says_what_is_wrong(
    bad: Callable[[], RestoreSnapshot], text: str
) -> None:
    book = Book(ScheduleJob(config=DB))
    answer, changes = book.ask(bad())
    assert (answer.result, changes) == ("invalid", {})
    assert text in answer.message


def test_of_very_many_problems_only_some_are_named() -> None:
    many = tuple(saved_job(scaled(DB, 0), prefix=f"x{number}", hash=f"x{number}") for number in range(25))
    answer, _ = Book().ask(RestoreSnapshot(jobs=many, agents=()))
    assert answer.message.count("config.scale is 0") == 10
    assert answer.message.endswith("; and 15 more")


def test_an_expected_version_is_that_of_the_whole_registry() -> None:
    book = Book(ScheduleJob(config=WEB))
    snapshot = book.save()
    book.ask(ScheduleJob(config=DB))
    answer, changes = book.ask(restoring(snapshot, expected=1))
    assert (answer.result, changes) == ("precondition failed", {})
    assert answer.message == "the registry is at version 2, not 1"
    assert book.ask(restoring(snapshot, expected=2))[0].result == "changed"


def test_a_change_of_the_same_commit_counts_for_the_expected_version() -> None:
    """The registry judges many mutations for one version; the first has moved it on for the second."""
    book = Book(ScheduleJob(config=WEB))
    mutation = restoring(book.save(), expected=1)
    _, changes = judge(book.desired, ScheduleJob(config=DB), 2)
    book.desired.apply(changes)
    answer, nothing = judge(book.desired, mutation, 2, at=2)
    assert (answer.result, answer.version, nothing) == ("precondition failed", 2, {})


# --- and what the scheduler makes of it ---------------------------------------------------------------


def test_running_tasks_are_adopted_and_nothing_is_placed_before_all_agents_have_answered() -> None:
    saved = Book(PutJob(config=WEB))
    empty = Book(knows("static", "a", "b"))
    _, changes = empty.ask(restoring(saved.save()))
    tasks = [task_id(PREFIX, 0), task_id(PREFIX, 1)]
    scheduler = Scheduler(algorithm("least_used"), Random(0))
    scheduler.desired_changed({(AGENT, name): agent(name) for name in "ab"})
    scheduler.actual_changed(
        {(ACTUAL_AGENT, "a"): status("a"), (CONTAINER, "a", tasks[0]): report("a", tasks[0])}
    )
    scheduler.desired_changed(changes)

    held = scheduler.decide(0.0)
    assert held.writes == ()
    assert (reason := held.waiting[PREFIX]) is not None
    assert "b may hold it" in reason.reason

    second = report("b", tasks[1])
    scheduler.actual_changed(
        {(ACTUAL_AGENT, "b"): status("b", has=resources()), (CONTAINER, "b", tasks[1]): second}
    )
    assert scheduler.decide(0.0).writes == tuple(
        WritePlacement(task=task, expected=0, copies=(Copy(name, "run"),))
        for task, name in zip(tasks, "ab", strict=True)
    )


def test_the_tasks_of_a_job_that_is_not_in_it_are_stopped() -> None:
    job = version_of(DB)
    task = task_id(job.prefix, 0)
    state: Changes = {
        (AGENT, "a"): agent(),
        (JOB, job.prefix): job,
        (PLACEMENT, task): placement(task, ("a", "run")),
    }
    desired = Desired()
    desired.apply(state)
    scheduler = Scheduler(algorithm("least_used"), Random(0))
    scheduler.desired_changed(state)
    scheduler.actual_changed({(ACTUAL_AGENT, "a"): status(), (CONTAINER, "a", task): report("a", task)})
    assert scheduler.decide(0.0).writes == ()
    _, changes = judge(desired, RestoreSnapshot(jobs=(), agents=()), 2)
    scheduler.desired_changed(changes)
    assert scheduler.decide(0.0).writes == (
        WritePlacement(task=task, expected=1, copies=(Copy("a", "stop"),)),
    )


def test_jobs_that_would_wait_for_each_other_are_not_restored() -> None:
    one, other = (msgspec.structs.replace(config, depends_on=None) for config in (WEB, DB))
    book = Book(ScheduleJob(config=one), ScheduleJob(config=other))
    snapshot = book.save()
    circle = tuple(
        msgspec.structs.replace(
            job,
            config=msgspec.structs.replace(
                job.config, depends_on=["db" if job.config.job == "web" else "web"]
            ),
        )
        for job in snapshot.jobs
    )
    before = dict(book.desired.jobs)
    answer, changes = book.ask(restoring(snapshot, jobs=circle))
    assert (answer.result, changes) == ("invalid", {})
    assert "makes a circle" in answer.message
    assert book.desired.jobs == before
