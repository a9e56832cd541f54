"""An agent that has tasks is not looked for at another address: there they would be started once more."""

from __future__ import annotations

from rules_made import job_config

from scheduling.answer import Answer
from scheduling.desired import Copy, Desired
from scheduling.draining import AddAgent
from scheduling.jobs import ScheduleJob
from scheduling.presence import MarkLost
from scheduling.registry import AgentSpec, Mutation, SyncAgents, WritePlacement, judge

OLD, NEW = "http://old:1", "http://new:1"
WEB = job_config("web")


class Book:
    """A registry with an agent, known from a file, that has a task."""

    def __init__(self, source: str = "file") -> None:
        self.desired = Desired()
        self.version = 0
        if source == "file":
            self.ask(SyncAgents(source=source, agents=(AgentSpec(name="a", endpoint=OLD),)))
        else:
            self.ask(AddAgent(name="a", endpoint=OLD))
        self.ask(ScheduleJob(config=WEB))
        self.ask(WritePlacement(task=f"{WEB.hash()}-0", expected=0, copies=(Copy("a", "run"),)))

    def ask(self, mutation: Mutation) -> Answer:
        answer, changes = judge(self.desired, mutation, self.version + 1)
        self.desired.apply(changes)
        self.version = answer.version
        return answer

    @property
    def endpoint(self) -> str:
        return self.desired.agents["a"].endpoint


def test_an_operator_is_told_to_drain_it_first() -> None:
    book = Book("api")
    answer = book.ask(AddAgent(name="a", endpoint=NEW))
    assert (answer.result, book.endpoint) == ("conflict", OLD)
    assert answer.message == f"a has 1 tasks at {OLD}; drain it first, or add {NEW} under another name"
    assert book.ask(AddAgent(name="a", endpoint=OLD, labels={"zone": "x"})).result == "changed"


def test_a_file_is_told_which_agents_keep_their_addresses_for_now() -> None:
    book = Book()
    moved = SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint=NEW, labels={"zone": "x"}),))
    answer = book.ask(moved)
    assert (answer.kept, book.endpoint) == (("a",), OLD)
    assert book.desired.agents["a"].labels == {"zone": "x"}, "the rest of it counts"
    task = f"{WEB.hash()}-0"
    book.ask(WritePlacement(task=task, expected=book.desired.placements[task].generation, copies=()))
    assert (book.ask(moved).kept, book.endpoint) == ((), NEW), "once it is empty"


def test_one_that_is_lost_may_come_back_elsewhere() -> None:
    for book, again in (
        (Book(), SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint=NEW),))),
        (Book("api"), AddAgent(name="a", endpoint=NEW)),
    ):
        book.ask(MarkLost(agent="a", since=1.0))
        assert (book.ask(again).accepted, book.endpoint) == (True, NEW)


def test_one_that_is_known_to_be_the_same_moves_with_its_tasks() -> None:
    book = Book()
    moved = SyncAgents(source="file", agents=(AgentSpec(name="a", endpoint=NEW, moves=True),))
    assert (book.ask(moved).kept, book.endpoint) == ((), NEW)
