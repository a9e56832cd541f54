"""Back to earlier versions, restarts, stops and starts, and what restoring a snapshot does meanwhile."""

from __future__ import annotations

import msgspec
import pytest
from book import KEY, A, B, Book, C
from rules_made import job_config, version_of
from test_migrating import finish

from config.bounds import VERSIONS_KEPT
from scheduling.canonical import job_hash
from scheduling.desired import JOB
from scheduling.job import JobConfig
from scheduling.jobs import DeleteJob, HaltJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import PutJob, RestartJob, RevertJob, StepMigration
from scheduling.migration import Input, State
from scheduling.registry import RestoreSnapshot
from scheduling.snapshot import snapshot_problems, take
from scheduling.update import Update


def became(*configs: JobConfig) -> Book:
    """The job had these configs one after the other; numbers count from 1."""
    book = Book()
    for config in configs:
        if book.accepts(PutJob(config=config)).migration:
            finish(book)
    return book


def numbers(book: Book) -> list[int]:
    return [past.number for past in book.desired.history[str(KEY)].kept]


# --- reverting ------------------------------------------------------------------------------------------


def test_reverting_is_a_migration_to_the_version_before() -> None:
    book = became(A, B)
    answer = book.accepts(RevertJob(key=KEY, update=Update(strategy="in_place")))
    assert answer.message.startswith(f"{KEY} is being migrated from {B.hash()} to {A.hash()}, in_place")
    finish(book)
    assert book.configs() == [A]
    assert book.desired.history[str(KEY)].current == 3, "it is a version of its own, the third"


def test_reverting_twice_toggles() -> None:
    book = became(A, B)
    for expected in (A, B, A, B):
        book.accepts(RevertJob(key=KEY))
        finish(book)
        assert book.configs() == [expected]


def test_any_version_that_is_kept_can_be_gone_back_to_by_its_number() -> None:
    book = became(A, B, C)
    book.accepts(RevertJob(key=KEY, number=1))
    finish(book)
    assert book.configs() == [A]
    book.accepts(RevertJob(key=KEY, number=4), "unchanged")


def test_a_change_of_scale_or_policy_is_a_version_too_and_goes_back_in_place() -> None:
    book = became(A, msgspec.structs.replace(A, scale=5))
    answer = book.accepts(RevertJob(key=KEY))
    assert answer.message == f"{KEY} has been rescaled from 5 to 2"
    assert book.desired.migrations == {}
    book = became(A, msgspec.structs.replace(A, update=Update(canary=2)))
    assert book.accepts(RevertJob(key=KEY)).message == f"the policy of {KEY} has been changed"


def test_what_is_not_kept_can_not_be_gone_back_to() -> None:
    book = became(A)
    text = f"{KEY} has no earlier version to go back to; there are 1"
    book.refuses(RevertJob(key=KEY), "not found", text)
    book = became(*(job_config(mem=mem) for mem in range(1, VERSIONS_KEPT + 3)))
    assert numbers(book) == list(range(3, VERSIONS_KEPT + 3))
    kept = ", ".join(map(str, numbers(book)))
    book.refuses(
        RevertJob(key=KEY, number=2), "not found", f"{KEY} has no version 2 to go back to; there are {kept}"
    )
    text = f"{KEY} is at version {book.version - 1}, not 1; it runs {book.configs()[0].hash()} now"
    book.refuses(RevertJob(key=KEY, expected=1), "precondition failed", text)


def test_one_that_was_given_up_is_not_what_reverting_means() -> None:
    book = became(A, B)
    book.accepts(PutJob(config=C))
    finish(book, Input.REVERT, "it failed")
    assert book.configs() == [B]
    book.accepts(RevertJob(key=KEY))
    finish(book)
    assert book.configs() == [A], "not C, which has failed"


def test_a_version_that_stays_while_many_fail_is_still_there_to_go_back_to() -> None:
    book = became(A)
    for mem in range(10, 10 + VERSIONS_KEPT + 2):
        book.accepts(PutJob(config=job_config(scale=2, mem=mem)))
        finish(book, Input.REVERT, "it failed")
    book.accepts(PutJob(config=B))
    finish(book)
    book.accepts(RevertJob(key=KEY))
    finish(book)
    assert book.configs() == [A]


def test_two_versions_of_v0_have_to_be_one_again_first() -> None:
    book = Book(ScheduleJob(config=A), ScheduleJob(config=B))
    text = f"{KEY} has 2 versions, {A.hash()}, {B.hash()}; unschedule all but one first"
    book.refuses(RevertJob(key=KEY), "conflict", text)
    book.refuses(RestartJob(key=KEY), "conflict", text)
    book.refuses(PutJob(config=B), "conflict", text)
    book.accepts(UnscheduleJob(hash=B.hash()))
    assert book.desired.history[str(KEY)].current == 1
    text = f"{KEY} has no earlier version to go back to; there are 1, 2"
    book.refuses(RevertJob(key=KEY), "not found", text)
    book.accepts(RevertJob(key=KEY, number=2))


# --- a restart ------------------------------------------------------------------------------------------


def test_a_restart_is_a_migration_to_the_same_config_under_other_names() -> None:
    book = Book(PutJob(config=A))
    answer = book.accepts(RestartJob(key=KEY))
    assert answer.message == f"{KEY} is being restarted ({A.hash()}), rolling; the migration is m-2"
    row = book.migration()
    other = job_hash("web", A.canonical() + b"\n1")
    assert (row.old, row.new, row.old_hash, row.new_hash) == (A.hash(), other, A.hash(), A.hash())
    assert numbers(book) == [1], "the same config is no other version"


def test_during_a_restart_every_name_resolves_and_after_it_too() -> None:
    book = Book(PutJob(config=A))
    name = A.hash()
    book.accepts(RestartJob(key=KEY))
    row = book.migration()
    assert book.desired.names == {name: row.new, row.new: row.new}
    book.accepts(PutJob(config=A), "unchanged")
    book.refuses(ScheduleJob(config=A), "conflict", f"{name} already scheduled")
    finish(book)
    assert book.desired.names == {name: row.new, row.new: row.new}
    book.accepts(PutJob(config=A), "unchanged")
    book.accepts(RestartJob(key=KEY))
    assert book.migration().new not in (name, row.new), "a third name: the hash is the second's now"
    finish(book, Input.REVERT, "it failed")
    assert book.desired.names == {name: row.new, row.new: row.new}
    history = book.desired.history[str(KEY)]
    assert [past.reverted for past in history.kept] == [""], "the config was not given up, just its restart"


def test_unscheduling_the_hash_during_a_restart_stops_both() -> None:
    """Who unschedules a config does not want its copies under other names either."""
    book = Book(PutJob(config=A), RestartJob(key=KEY))
    book.accepts(UnscheduleJob(hash=A.hash()))
    assert (book.desired.jobs, book.desired.migrations, book.desired.history) == ({}, {}, {})
    book = Book(PutJob(config=A), RestartJob(key=KEY))
    book.accepts(UnscheduleJob(hash=book.migration().new))
    assert book.desired.names == {A.hash(): A.hash()}, "by its prefix just the one"
    assert book.migration().state is State.ENDED


def test_a_stopped_job_is_started_not_restarted() -> None:
    book = Book(PutJob(config=A), HaltJob(key=KEY, stopped=True))
    book.refuses(RestartJob(key=KEY), "conflict", f"{KEY} is stopped; start it instead")


# --- stopped and started --------------------------------------------------------------------------------


def test_a_job_is_stopped_without_being_forgotten_and_started_again() -> None:
    book = became(A, B)
    answer = book.accepts(HaltJob(key=KEY, stopped=True))
    assert answer.message == f"{KEY} is being stopped"
    (job,) = book.desired.versions(KEY)
    assert not book.desired.indices(job)
    assert book.accepts(HaltJob(key=KEY, stopped=True), "unchanged").message == f"{KEY} is stopped already"
    book.accepts(PutJob(config=B), "unchanged")
    book.accepts(RevertJob(key=KEY))
    (job,) = book.desired.versions(KEY)
    assert (job.config, job.stopped) == (A, True), "another config, and still stopped"
    seen = job.version
    text = f"{KEY} is at version {seen}, not 1; it runs {A.hash()} now"
    book.refuses(HaltJob(key=KEY, stopped=False, expected=1), "precondition failed", text)
    assert book.accepts(HaltJob(key=KEY, stopped=False, expected=seen)).message == f"{KEY} is being started"
    (job,) = book.desired.versions(KEY)
    assert list(book.desired.indices(job)) == [0, 1]


# --- histories of old registries, and snapshots ---------------------------------------------------------


def test_a_registry_from_before_histories_begins_with_what_is_there() -> None:
    book = Book()
    for config in (A, B):
        job = version_of(config, version=0)
        book.desired.apply({(JOB, job.prefix): job})
        book.written[JOB, job.prefix] = job
    book.accepts(UnscheduleJob(hash=B.hash()))
    book.accepts(PutJob(config=C))
    history = book.desired.history[str(KEY)]
    assert [(past.number, past.config) for past in history.kept] == [(1, A), (2, C)]
    finish(book)
    book.accepts(RevertJob(key=KEY))
    finish(book)
    assert book.configs() == [A]


def test_two_versions_from_before_histories_get_numbers_of_their_own() -> None:
    book = Book()
    for config in (A, B):
        job = version_of(config, version=0)
        book.desired.apply({(JOB, job.prefix): job})
        book.written[JOB, job.prefix] = job
    book.accepts(ScheduleJob(config=C))
    assert numbers(book) == [1, 2, 3]


def restoring(book: Book) -> RestoreSnapshot:
    snapshot = take(book.desired, book.version, "")
    assert snapshot_problems(snapshot) == []
    return RestoreSnapshot(jobs=snapshot.jobs, agents=snapshot.agents)


def test_restoring_what_was_before_ends_the_migration() -> None:
    book = Book(PutJob(config=A))
    saved = restoring(book)
    book.accepts(PutJob(config=B))
    book.accepts(saved)
    assert book.configs() == [A]
    assert (book.migration().state, book.migration().reason) == (State.ENDED, f"{B.hash()} was unscheduled")
    assert book.desired.history[str(KEY)].current == 1
    book.accepts(RevertJob(key=KEY, number=2))


def test_restoring_what_is_under_way_lets_it_go_on() -> None:
    book = Book(PutJob(config=A), PutJob(config=B))
    book.accepts(restoring(book), "unchanged")
    assert book.migration().state is State.RUNNING


def test_restoring_the_config_before_the_last_is_its_version_again() -> None:
    book = Book(PutJob(config=A))
    saved = restoring(book)
    book.accepts(PutJob(config=B))
    finish(book)
    book.accepts(saved)
    assert (book.configs(), book.desired.history[str(KEY)].current) == ([A], 1)
    book.accepts(RevertJob(key=KEY))
    finish(book)
    assert book.configs() == [B]


@pytest.mark.parametrize("again", [PutJob(config=B), RestartJob(key=KEY)], ids=["migration", "restart"])
def test_a_snapshot_of_a_migration_brings_both_versions_back_elsewhere(again: PutJob | RestartJob) -> None:
    """Both may run there already, and are adopted; which of them stays is for the operator to say."""
    saved = Book(PutJob(config=A), again)
    book = Book()
    book.accepts(restoring(saved))
    assert set(book.desired.jobs) == set(saved.desired.jobs)
    assert all(job.adopt for job in book.desired.jobs.values())
    assert book.desired.migrations == {}
    book.accepts(UnscheduleJob(hash=saved.migration().new))
    book.accepts(PutJob(config=A), "unchanged")
    book.accepts(PutJob(config=C))


def test_what_was_stopped_stays_stopped_when_it_is_restored() -> None:
    book = Book(PutJob(config=A), HaltJob(key=KEY, stopped=True))
    saved = restoring(book)
    book.accepts(HaltJob(key=KEY, stopped=False))
    assert "1 changed" in book.accepts(saved).message
    (job,) = book.desired.versions(KEY)
    assert job.stopped
    elsewhere = Book()
    elsewhere.accepts(saved)
    (job,) = elsewhere.desired.versions(KEY)
    assert (job.stopped, list(elsewhere.desired.indices(job))) == (True, [])


def test_what_was_deleted_begins_with_its_first_version_again() -> None:
    book = became(A, B)
    book.accepts(DeleteJob(key=KEY))
    book.accepts(PutJob(config=C))
    assert numbers(book) == [1]


def test_a_step_from_before_the_restore_is_refused() -> None:
    book = Book(PutJob(config=A))
    saved = restoring(book)
    book.accepts(PutJob(config=B))
    late = book.migration()
    book.accepts(saved)
    answer, _ = book.ask(StepMigration(migration=late, expected=late.generation))
    assert answer.result == "conflict"
