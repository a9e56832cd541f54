"""What the registry answers about migrations: how one begins, is steered, takes its steps, and ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from book import KEY, A, B, Book, C
from rules_made import job_config

from config.bounds import ENDED_KEPT
from scheduling.desired import HISTORY, JOB, MIGRATION, Copy
from scheduling.job import JobConfig, JobKey
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import Action, PutJob, RestartJob, RevertJob, SteerMigration, StepMigration
from scheduling.migration import Input, Migration, State, moved
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement, judge
from scheduling.update import Update

MID = "m-2"


@pytest.fixture
def book() -> Book:
    """A on its way to B: version 2."""
    return Book(PutJob(config=A), PutJob(config=B))


def steer(book: Book, action: Action, result: str = "changed") -> Migration:
    book.accepts(SteerMigration(id=MID, action=action), result)
    return book.desired.migrations[MID]


def step(book: Book, **changes: Any) -> StepMigration:
    row = book.desired.migrations[MID]
    return StepMigration(migration=msgspec.structs.replace(row, **changes), expected=row.generation)


def finish(book: Book, said: Input = Input.FINISH, reason: str = "") -> None:
    """The migration under way comes to its end, as the scheduler writes it."""
    row = book.migration()
    if said is Input.REVERT:
        row = moved(row, said, reason=reason)
        said = Input.FINISH
    book.accepts(StepMigration(migration=moved(row, said), expected=row.generation))


# --- it begins ------------------------------------------------------------------------------------------


def test_another_config_begins_a_migration_by_the_policy_of_the_job() -> None:
    book = Book(PutJob(config=A))
    new = msgspec.structs.replace(B, scale=3, update=Update(strategy="canary", canary=2))
    answer, changes = book.ask(PutJob(config=new))
    assert (answer.result, answer.hash, answer.migration) == ("changed", new.hash(), MID)
    assert answer.message == (
        f"{KEY} is being migrated from {A.hash()} to {new.hash()}, canary; the migration is {MID}"
    )
    assert set(changes) == {(JOB, new.hash()), (HISTORY, str(KEY)), (MIGRATION, MID)}
    row = changes[MIGRATION, MID]
    assert (row.old, row.new, row.old_scale, row.new_scale) == (A.hash(), new.hash(), 2, 3)
    assert (row.old_wanted, row.new_wanted, row.state) == ((0, 1), (), State.RUNNING)
    assert (row.limits.canary, row.begun_at, row.generation) == (2, book.now, 2)
    old, newer = book.desired.versions(KEY)
    assert (list(book.desired.indices(old)), list(book.desired.indices(newer))) == ([0, 1], [])
    assert not book.desired.wanted(f"{new.hash()}-0"), "nothing of it is wanted before the first step"


def test_the_policy_of_the_request_goes_before_that_of_the_job() -> None:
    book = Book(PutJob(config=msgspec.structs.replace(A, update=Update(strategy="in_place"))))
    new = msgspec.structs.replace(B, update=Update(strategy="canary"))
    book.accepts(PutJob(config=new, update=Update(strategy="blue_green")))
    assert book.migration().limits.strategy == "blue_green"


def test_a_policy_that_can_not_work_is_refused() -> None:
    book = Book(PutJob(config=A))
    text = "update.floor is 9, but one of the versions has just 2 tasks; at most that many"
    book.refuses(PutJob(config=B, update=Update(floor=9)), "invalid", text)


def test_migrating_to_what_is_there_changes_nothing_and_says_so() -> None:
    book = Book(PutJob(config=A))
    name = A.hash()
    answer = book.accepts(PutJob(config=A, old=name), "unchanged")
    assert answer.message == f"{KEY} is {name} already; nothing changes"
    assert (book.version, book.desired.migrations) == (1, {})


def test_what_is_to_be_replaced_must_be_there_and_of_the_same_job() -> None:
    book = Book(PutJob(config=A), PutJob(config=job_config("db")))
    db = job_config("db").hash()
    book.refuses(PutJob(config=B, old="web-0000000"), "not found", "web-0000000 not scheduled")
    text = (
        f"{db} is search/prod/db and the new config is {KEY}; a migration goes from one config of a job "
        f"to another"
    )
    book.refuses(PutJob(config=B, old=db), "conflict", text)
    book.accepts(PutJob(config=B, old=A.hash()))


def test_a_rescaled_job_is_replaced_by_either_of_its_names() -> None:
    more = msgspec.structs.replace(A, scale=5)
    for name in (A.hash(), more.hash()):
        book = Book(PutJob(config=A), PutJob(config=more))
        book.accepts(PutJob(config=B, old=name))
        assert (book.migration().old, book.migration().old_hash) == (A.hash(), more.hash())


def test_a_config_that_makes_a_circle_is_refused() -> None:
    web = msgspec.structs.replace(B, depends_on=["db"])
    book = Book(PutJob(config=A), PutJob(config=job_config("db", depends_on=["web"])))
    text = (
        "depends_on makes a circle: search/prod/web → search/prod/db → search/prod/web; each would wait "
        "for the other"
    )
    book.refuses(PutJob(config=web), "conflict", text)
    book.refuses(PutJob(config=msgspec.structs.replace(A, depends_on=["db"])), "conflict", text)
    alone = job_config("x", depends_on=["x"])
    text = "depends_on makes a circle: search/prod/x → search/prod/x; each would wait for the other"
    book.refuses(ScheduleJob(config=alone), "conflict", text)


def test_of_two_operators_the_second_is_told_what_has_changed() -> None:
    book = Book(PutJob(config=A))
    book.accepts(PutJob(config=B, expected=1))
    for late in (
        PutJob(config=C, expected=1),
        DeleteJob(key=KEY, expected=1),
        RestartJob(key=KEY, expected=1),
    ):
        text = f"{KEY} is at version 2, not 1; it runs {A.hash()}, {B.hash()} now"
        book.refuses(late, "precondition failed", text)


def test_two_that_begin_in_one_commit_have_names_of_their_own() -> None:
    """All mutations of a commit have one version."""
    book = Book(PutJob(config=A), PutJob(config=job_config("db")))
    names = []
    for config in (B, job_config("db", mem=9)):
        answer, changes = judge(book.desired, PutJob(config=config), 3, at=2)
        book.desired.apply(changes)
        names.append(answer.migration)
    assert names == ["m-3", "m-4"]
    assert [book.desired.migrations[name].key.job for name in names] == ["web", "db"]


def test_what_still_stops_keeps_its_names_for_itself() -> None:
    """Tasks of a version that is gone may be on their way out yet: the same config again gets other names."""
    source = SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint="http://a:1"),))
    book = Book(source, PutJob(config=A))
    book.accepts(WritePlacement(task=f"{A.hash()}-0", expected=0, copies=(Copy("a", "run"),)))
    book.accepts(PutJob(config=B))
    book.accepts(UnscheduleJob(hash=A.hash()))
    book.accepts(PutJob(config=A))
    assert book.migration().new not in (A.hash(), B.hash())
    assert book.migration().new_hash == A.hash()


def test_a_stopped_job_just_has_another_config() -> None:
    book = Book(PutJob(config=A), HaltJob(key=KEY, stopped=True))
    answer = book.accepts(PutJob(config=B))
    assert (answer.message, answer.migration) == (f"{KEY} is {B.hash()} now; it is stopped", "")
    (job,) = book.desired.versions(KEY)
    assert (job.config, job.stopped, job.number) == (B, True, 2)
    book.accepts(HaltJob(key=KEY, stopped=False))
    (job,) = book.desired.versions(KEY)
    assert list(book.desired.indices(job)) == [0, 1]


# --- meanwhile ------------------------------------------------------------------------------------------


def test_a_third_config_meanwhile_is_a_conflict_that_names_the_migration(book: Book) -> None:
    text = f"{KEY} is being migrated (m-2); wait for it, or abort it first"
    third: list[Mutation] = [
        PutJob(config=C),
        PutJob(config=A),
        PutJob(config=msgspec.structs.replace(B, scale=7)),
        ScheduleJob(config=C),
        RevertJob(key=KEY),
        RestartJob(key=KEY),
        HaltJob(key=KEY, stopped=True),
    ]
    for mutation in third:
        assert book.refuses(mutation, "conflict", text).migration == MID
    steer(book, "pause")
    book.refuses(PutJob(config=C), "conflict", text)


def test_the_same_config_again_meanwhile_changes_nothing(book: Book) -> None:
    assert (
        book.accepts(PutJob(config=B), "unchanged").message == f"{KEY} is {B.hash()} already; nothing changes"
    )
    book.accepts(PutJob(config=B, expected=2), "unchanged")


def test_v0_can_not_schedule_either_version_again_meanwhile(book: Book) -> None:
    for config in (A, B):
        book.refuses(ScheduleJob(config=config), "conflict", f"{config.hash()} already scheduled")


@pytest.mark.parametrize(("gone", "stays", "number"), [(A, B, 2), (B, A, 1)])
def test_v0_unscheduling_a_version_ends_the_migration_and_the_other_remains(
    book: Book, gone: JobConfig, stays: JobConfig, number: int
) -> None:
    steer(book, "pause")
    book.accepts(UnscheduleJob(hash=gone.hash()))
    row = book.desired.migrations[MID]
    assert (row.state, row.paused, row.reason) == (State.ENDED, False, f"{gone.hash()} was unscheduled")
    assert row.generation == book.version
    (job,) = book.desired.versions(KEY)
    assert (job.config, list(book.desired.indices(job))) == (stays, [0, 1])
    assert book.desired.history[str(KEY)].current == number
    book.accepts(PutJob(config=stays), "unchanged")
    book.accepts(PutJob(config=C))


def test_deleting_the_job_meanwhile_forgets_everything(book: Book) -> None:
    answer, changes = book.ask(DeleteJob(key=KEY))
    assert answer.message == f"{KEY} ({A.hash()}, {B.hash()}) is being stopped"
    assert changes == {
        (JOB, A.hash()): None,
        (JOB, B.hash()): None,
        (MIGRATION, MID): None,
        (HISTORY, str(KEY)): None,
    }
    assert (book.desired.migrations, book.desired.history, book.desired.migrating) == ({}, {}, {})


# --- it is steered --------------------------------------------------------------------------------------


def test_it_is_paused_and_resumed(book: Book) -> None:
    row = steer(book, "pause")
    assert (row.paused, row.generation) == (True, 3)
    steer(book, "pause", "unchanged")
    book.now = 2000.0
    row = steer(book, "resume")
    assert (row.paused, row.tried_at, row.progress_at) == (False, 2000.0, 2000.0)
    steer(book, "resume", "unchanged")


def test_it_is_aborted_once(book: Book) -> None:
    steer(book, "pause")
    row = steer(book, "abort")
    assert (row.state, row.paused, row.reason) == (State.REVERTING, False, "aborted by its operator")
    steer(book, "abort", "unchanged")
    steer(book, "pause")
    row = steer(book, "resume")
    assert (row.state, row.reason) == (State.REVERTING, "aborted by its operator")


def test_a_failed_one_is_resumed_or_aborted(book: Book) -> None:
    book.accepts(step(book, state=State.FAILED, reason="broken"))
    text = "m-2 is failed; there is nothing to pause"
    book.refuses(SteerMigration(id=MID, action="pause"), "conflict", text)
    row = steer(book, "resume")
    assert (row.state, row.reason) == (State.RUNNING, "")
    book.accepts(step(book, state=State.FAILED, reason="broken"))
    assert steer(book, "abort").state is State.REVERTING


def test_only_canaries_are_promoted(book: Book) -> None:
    text = "m-2 is running, rolling; only canaries are promoted"
    book.refuses(SteerMigration(id=MID, action="promote"), "conflict", text)
    canary = Book(PutJob(config=A), PutJob(config=B, update=Update(strategy="canary")))
    assert steer(canary, "promote").promoted
    steer(canary, "promote", "unchanged")


@pytest.mark.parametrize("action", ["pause", "resume", "abort"])
def test_one_that_is_over_is_left_alone(book: Book, action: Action) -> None:
    finish(book)
    book.refuses(
        SteerMigration(id=MID, action=action), "conflict", f"m-2 is done; there is nothing to {action}"
    )


def test_it_is_steered_only_as_it_was_seen(book: Book) -> None:
    text = "m-2 is at version 2, not 1"
    book.refuses(SteerMigration(id=MID, action="abort", expected=1), "precondition failed", text)
    book.accepts(SteerMigration(id=MID, action="abort", expected=2))
    book.refuses(SteerMigration(id="m-7", action="abort"), "not found", "there is no migration m-7")


# --- its steps ------------------------------------------------------------------------------------------


def test_a_step_is_written_at_the_generation_it_was_decided_at(book: Book) -> None:
    first = step(book, new_wanted=(0,))
    book.accepts(first)
    assert (book.migration().new_wanted, book.migration().generation) == ((0,), 3)
    assert book.desired.wanted(f"{B.hash()}-0")
    book.refuses(first, "conflict", "m-2 is at 3, not 2")


@pytest.mark.parametrize("action", ["pause", "abort"])
def test_a_step_decided_before_its_operator_spoke_is_refused(book: Book, action: Action) -> None:
    late = step(book, old_wanted=())
    steer(book, action)
    book.refuses(late, "conflict", "m-2 is at 3, not 2")
    assert book.desired.wanted(f"{A.hash()}-0")


def test_a_step_of_a_migration_that_is_over_or_gone_is_refused(book: Book) -> None:
    late = step(book, new_wanted=(0,))
    book.accepts(UnscheduleJob(hash=B.hash()))
    book.refuses(late, "conflict", "m-2 is at 3, not 2")
    answer, _ = book.ask(step(book, new_wanted=(0,)))
    assert answer.result == "conflict", "also at its newest generation"
    book.accepts(DeleteJob(key=KEY))
    book.refuses(late, "conflict", "m-2 is at an end, not 2")


def test_when_it_is_done_the_old_version_goes(book: Book) -> None:
    finish(book)
    assert book.configs() == [B]
    assert book.desired.history[str(KEY)].current == 2
    assert book.desired.migrating == {}
    (job,) = book.desired.versions(KEY)
    assert list(book.desired.indices(job)) == [0, 1]


def test_when_it_is_reverted_the_new_version_goes_and_history_tells_why(book: Book) -> None:
    finish(book, Input.REVERT, "web-0 failed")
    assert book.configs() == [A]
    history = book.desired.history[str(KEY)]
    assert (history.current, [past.reverted for past in history.kept]) == (1, ["", "web-0 failed"])


def test_of_those_that_are_over_the_last_ones_are_told_of() -> None:
    book = Book(PutJob(config=A), PutJob(config=job_config("db")))
    other = book.accepts(PutJob(config=job_config("db", mem=9))).migration
    ids = []
    for number in range(ENDED_KEPT + 3):
        ids.append(book.accepts(PutJob(config=(B, A)[number % 2])).migration)
        finish(book)
    assert set(book.desired.migrations) == {other, *ids[-ENDED_KEPT:]}


def test_a_job_of_another_name_is_left_alone(book: Book) -> None:
    nobody = JobKey("a", "b", "c")
    for mutation in (RevertJob(key=nobody), RestartJob(key=nobody), HaltJob(key=nobody, stopped=True)):
        book.refuses(mutation, "not found", "a/b/c is not scheduled")
