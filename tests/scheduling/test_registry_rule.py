"""What the registry answers to each mutation, what it changes, and that a refusal changes nothing."""

from __future__ import annotations

import msgspec
import pytest
from rules_made import job_config

from scheduling.answer import Answer
from scheduling.desired import AGENT, HISTORY, JOB, Agent, Copy, Desired, Placement
from scheduling.job import JobConfig, JobKey
from scheduling.jobs import DeleteJob, ScheduleJob, UnscheduleJob
from scheduling.migrating import PutJob
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement, judge
from scheduling.replica import Changes


class Book:
    """A desired state that mutations are judged against, one version each."""

    def __init__(self) -> None:
        self.desired = Desired()
        self.version = 0

    def ask(self, mutation: Mutation) -> tuple[Answer, Changes]:
        answer, changes = judge(self.desired, mutation, self.version + 1)
        self.desired.apply(changes)
        self.version += bool(changes)
        assert answer.version == self.version
        assert answer.accepted or not changes, "a refused mutation changes nothing"
        return answer, changes

    def agents(self, *names: str, source: str = "file") -> Changes:
        specs = tuple(AgentSpec(name=name, endpoint=f"http://{name}:1") for name in names)
        return self.ask(SyncAgents(source=source, agents=specs))[1]

    def sources_of(self, name: str) -> set[str]:
        return set(self.desired.agents[name].sources)

    def write(self, task: str, expected: int, *copies: tuple[str, str]) -> Answer:
        written = tuple(Copy(name, "run" if intent == "run" else "stop") for name, intent in copies)
        return self.ask(WritePlacement(task=task, expected=expected, copies=written))[0]

    def refuses(self, mutation: Mutation, result: str, message: str) -> None:
        before = self.version
        answer, changes = self.ask(mutation)
        assert (answer.result, changes, self.version) == (result, {}, before)
        assert answer.message == message


@pytest.fixture
def book() -> Book:
    return Book()


WEB = job_config(scale=2)
NAME = WEB.hash()
KEY = WEB.key


def scaled(config: JobConfig, scale: int) -> JobConfig:
    return msgspec.structs.replace(config, scale=scale)


# --- jobs, as v0 has them ---------------------------------------------------------------------------


def test_a_job_is_scheduled_under_its_hash(book: Book) -> None:
    answer, changes = book.ask(ScheduleJob(config=WEB))
    assert (answer.result, answer.hash, answer.version) == ("created", NAME, 1)
    assert answer.message == f"request to schedule 'web' ({NAME}) has been accepted"
    job = changes[JOB, NAME]
    assert (job.prefix, job.hash, job.config, job.version, job.adopt) == (NAME, NAME, WEB, 1, False)


def test_the_same_job_again_is_refused_on_v0(book: Book) -> None:
    book.ask(ScheduleJob(config=WEB))
    book.refuses(ScheduleJob(config=WEB), "conflict", f"{NAME} already scheduled")


def test_a_second_config_of_the_same_job_is_a_second_version_on_v0(book: Book) -> None:
    book.ask(ScheduleJob(config=WEB))
    answer, _ = book.ask(ScheduleJob(config=job_config(mem=65)))
    assert answer.result == "created"
    assert [job.version for job in book.desired.versions(KEY)] == [1, 2]


def test_a_hash_that_belongs_to_another_config_is_refused(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    book.ask(ScheduleJob(config=WEB))
    other = job_config("web", mem=1)
    monkeypatch.setattr(JobConfig, "hash", lambda _config: NAME)
    text = f"the hash {NAME} belongs to another config; change any field"
    book.refuses(ScheduleJob(config=other), "conflict", text)


def test_a_job_is_unscheduled_by_its_hash(book: Book) -> None:
    book.ask(ScheduleJob(config=WEB))
    answer, changes = book.ask(UnscheduleJob(hash=NAME))
    assert changes == {(JOB, NAME): None, (HISTORY, str(KEY)): None}
    assert answer.message == f"request to unschedule web ({NAME}) has been accepted"
    book.refuses(UnscheduleJob(hash=NAME), "not found", f"{NAME} not scheduled")


def test_an_unknown_hash_is_not_found(book: Book) -> None:
    book.refuses(UnscheduleJob(hash="nosuch-1234567"), "not found", "nosuch-1234567 not scheduled")


def test_an_imported_job_is_marked_for_adoption(book: Book) -> None:
    _, changes = book.ask(ScheduleJob(config=WEB, adopt=True))
    assert changes[JOB, NAME].adopt


# --- jobs, as v1 has them ---------------------------------------------------------------------------


def test_putting_a_job_is_idempotent(book: Book) -> None:
    assert book.ask(PutJob(config=WEB))[0].result == "created"
    for _ in range(3):
        answer, changes = book.ask(PutJob(config=WEB))
        assert (answer.result, answer.version, answer.hash, changes) == ("unchanged", 1, NAME, {})


def test_rescaling_keeps_the_tasks_and_both_names_are_reserved(book: Book) -> None:
    book.ask(PutJob(config=WEB))
    more = scaled(WEB, 5)
    answer, changes = book.ask(PutJob(config=more))
    assert (answer.result, answer.hash) == ("changed", more.hash())
    assert answer.message == f"{KEY} has been rescaled from 2 to 5"
    job = changes[JOB, NAME]
    assert (job.prefix, job.hash, job.version, job.config.scale) == (NAME, more.hash(), 2, 5)
    for config in (WEB, more):
        book.refuses(ScheduleJob(config=config), "conflict", f"{config.hash()} already scheduled")
    assert book.ask(PutJob(config=WEB))[0].result == "changed", "and back"
    assert book.desired.names == {NAME: NAME}


def test_a_rescaled_job_is_unscheduled_by_either_name(book: Book) -> None:
    for name in (NAME, scaled(WEB, 5).hash()):
        book.ask(PutJob(config=WEB))
        book.ask(PutJob(config=scaled(WEB, 5)))
        assert book.ask(UnscheduleJob(hash=name))[0].hash == scaled(WEB, 5).hash()
        assert book.desired.jobs == {}


def test_rescaling_to_a_hash_that_another_job_has_is_refused(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = job_config(environment="dev")
    book.ask(PutJob(config=WEB))
    book.ask(PutJob(config=other))
    taken = other.hash()
    honest = JobConfig.hash
    monkeypatch.setattr(JobConfig, "hash", lambda config: taken if config.scale == 9 else honest(config))
    text = f"the hash {taken} belongs to search/dev/web"
    book.refuses(PutJob(config=scaled(WEB, 9)), "conflict", text)


def test_putting_a_job_of_two_versions_is_refused(book: Book) -> None:
    other = job_config(mem=65)
    book.ask(ScheduleJob(config=WEB))
    book.ask(ScheduleJob(config=other))
    text = f"{KEY} has 2 versions, {NAME}, {other.hash()}; unschedule all but one first"
    book.refuses(PutJob(config=WEB), "conflict", text)


def test_deleting_a_job_stops_all_its_versions(book: Book) -> None:
    other = job_config(mem=65)
    book.ask(ScheduleJob(config=WEB))
    book.ask(ScheduleJob(config=other))
    answer, changes = book.ask(DeleteJob(key=KEY))
    assert changes == {(JOB, NAME): None, (JOB, other.hash()): None, (HISTORY, str(KEY)): None}
    assert answer.message == f"{KEY} ({NAME}, {other.hash()}) is being stopped"
    book.refuses(DeleteJob(key=KEY), "not found", f"{KEY} is not scheduled")


def test_a_job_is_changed_only_at_the_version_its_writer_has_seen(book: Book) -> None:
    failed = "precondition failed"
    book.refuses(PutJob(config=WEB, expected=3), failed, f"{KEY} is not scheduled, not at version 3")
    assert book.ask(PutJob(config=WEB, expected=0))[0].result == "created"
    book.refuses(
        PutJob(config=WEB, expected=0), failed, f"{KEY} is scheduled already, as {NAME} at version 1"
    )
    text = f"{KEY} is at version 1, not 2; it runs {NAME} now"
    book.refuses(PutJob(config=scaled(WEB, 3), expected=2), failed, text)
    book.refuses(DeleteJob(key=KEY, expected=2), failed, text)
    assert book.ask(PutJob(config=scaled(WEB, 3), expected=1))[0].accepted
    assert book.ask(DeleteJob(key=KEY, expected=2))[0].accepted
    nobody = JobKey("a", "b", "c")
    book.refuses(DeleteJob(key=nobody, expected=1), failed, "a/b/c is not scheduled, not at version 1")


# --- agents -----------------------------------------------------------------------------------------


def test_agents_come_and_go_with_their_source(book: Book) -> None:
    assert set(book.agents("a", "b")) == {(AGENT, "a"), (AGENT, "b")}
    assert book.agents("a", "b") == {}, "nothing new"
    assert book.agents("b") == {(AGENT, "a"): None}
    assert set(book.desired.agents) == {"b"}


def test_an_agent_goes_when_its_last_source_drops_it(book: Book) -> None:
    book.agents("a", source="file")
    book.agents("a", source="flags")
    assert book.sources_of("a") == {"file", "flags"}
    book.agents(source="file")
    book.agents(source="nobody")
    assert book.sources_of("a") == {"flags"}
    book.agents(source="flags")
    assert book.desired.agents == {}


def test_an_agent_that_moved_or_was_labelled_is_changed(book: Book) -> None:
    book.agents("a")
    moved = AgentSpec(name="a", endpoint="http://elsewhere:2", labels={"zone": "x"})
    answer, _ = book.ask(SyncAgents(source="file", agents=(moved,)))
    assert answer.result == "changed"
    agent = book.desired.agents["a"]
    assert agent == Agent(
        name="a", endpoint="http://elsewhere:2", labels={"zone": "x"}, sources=("file",), version=2
    )


def test_an_agent_with_tasks_stays_until_it_is_empty(book: Book) -> None:
    book.agents("a", "b")
    book.ask(ScheduleJob(config=WEB))
    for index in range(2):
        book.write(f"{NAME}-{index}", 0, ("a", "run"))
    book.agents("b")
    assert book.desired.agents["a"].sources == ()
    rows = book.desired.placements
    book.write(f"{NAME}-0", rows[f"{NAME}-0"].generation, ("b", "run"))
    assert "a" in book.desired.agents
    book.write(f"{NAME}-1", rows[f"{NAME}-1"].generation)
    assert "a" not in book.desired.agents
    assert "b" in book.desired.agents, "an agent with a source stays, empty or not"


# --- placements -------------------------------------------------------------------------------------

TASK = f"{NAME}-0"


@pytest.fixture
def ready(book: Book) -> Book:
    """Two agents and a job of two tasks: version 2."""
    book.agents("a", "b", "c")
    book.ask(ScheduleJob(config=WEB))
    return book


def test_a_placement_is_written_at_the_generation_its_writer_has_seen(ready: Book) -> None:
    assert ready.write(TASK, 0, ("a", "run")).version == 3
    assert ready.desired.placements[TASK] == Placement(task=TASK, generation=3, copies=(Copy("a", "run"),))
    for stale in (0, 1, 2, 4):
        mutation = WritePlacement(task=TASK, expected=stale, copies=(Copy("b", "run"),))
        ready.refuses(mutation, "conflict", f"{TASK} is at generation 3, not {stale}")
    assert ready.write(TASK, 3, ("a", "stop"), ("b", "run")).accepted
    assert ready.write(TASK, 4).accepted
    assert ready.desired.placements == {}
    absent = WritePlacement(task=TASK, expected=4, copies=(Copy("a", "run"),))
    ready.refuses(absent, "conflict", f"{TASK} is at generation 0, not 4")


@pytest.mark.parametrize(
    "copies",
    [
        (Copy("a", "run"), Copy("b", "run")),
        (Copy("a", "stop"), Copy("a", "stop")),
        (Copy("a", "run"), Copy("a", "stop")),
    ],
)
def test_a_task_runs_once_and_has_one_copy_an_agent(ready: Book, copies: tuple[Copy, ...]) -> None:
    answer, changes = ready.ask(WritePlacement(task=TASK, expected=0, copies=copies))
    assert (answer.result, changes) == ("conflict", {})
    assert "can run once, and have one copy an agent" in answer.message


def test_a_task_is_placed_on_known_agents_only(ready: Book) -> None:
    copies = (Copy("x", "stop"), Copy("a", "run"), Copy("y", "stop"))
    mutation = WritePlacement(task=TASK, expected=0, copies=copies)
    ready.refuses(mutation, "conflict", f"{TASK} can't be on x, y: no such agent")


@pytest.mark.parametrize("task", [f"{NAME}-2", f"{NAME}-x", "nosuch-1234567-0"])
def test_what_is_not_wanted_is_not_placed(ready: Book, task: str) -> None:
    mutation = WritePlacement(task=task, expected=0, copies=(Copy("a", "run"),))
    ready.refuses(mutation, "conflict", f"{task} is not wanted any more")


def test_what_is_not_wanted_any_more_can_be_stopped_but_not_moved(ready: Book) -> None:
    ready.write(TASK, 0, ("a", "run"))
    ready.ask(UnscheduleJob(hash=NAME))
    moved = WritePlacement(task=TASK, expected=3, copies=(Copy("a", "stop"), Copy("b", "run")))
    ready.refuses(moved, "conflict", f"{TASK} is not wanted any more")
    assert ready.write(TASK, 3, ("a", "stop")).accepted
    assert ready.write(TASK, 5).accepted
    assert TASK not in ready.desired.placements
