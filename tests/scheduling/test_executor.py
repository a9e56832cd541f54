"""One agent's executor: the bounds and the corner cases that the stories in scenarios/ do not tell."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from rules_made import instance

from config.bounds import LONGEST_RETRY_SECONDS
from scheduling.actual import CONTAINER, ContainerReport
from scheduling.commands import Batch, Command, Goal
from scheduling.container import Metrics
from scheduling.executor import (
    DEADLINE_SECONDS,
    DOUBT_SECONDS,
    FIRST_RETRY_SECONDS,
    REFUSED_SECONDS,
    Executor,
    Outcome,
    Request,
)
from scheduling.lifecycle import Input, Phase


class Agent:
    """An executor in conversation: the test plays the agent and the clock."""

    def __init__(self, in_flight_limit: int = 4) -> None:
        self.executor = Executor("a", Random(1), in_flight_limit)
        self.now = 1000.0
        self.reported: dict[str, ContainerReport | None] = {}

    def command(self, goal: Goal, *tasks: str, generation: int = 1, prefix: str = "p") -> None:
        commands = [Command(task=task, generation=generation, goal=goal, prefix=prefix) for task in tasks]
        self.executor.command(commands, {"p": b"config\n", "q": b"other\n"})

    def says(self, statuses: dict[str, str], everything: bool = False) -> None:
        seen = {task: instance(task, status) for task, status in statuses.items()}
        self.executor.saw(seen, everything=everything, now=self.now)

    def requests(self) -> list[Request]:
        due = self.executor.has_requests(self.now)
        found = self.executor.requests(self.now)
        assert due == bool(found)
        return found

    def steps(self) -> list[tuple[str, str]]:
        return [(request.task, request.step.value) for request in self.requests()]

    def replies(self, task: str, step: Input, outcome: Outcome = "accepted", error: str = "") -> None:
        self.executor.replied(task, step, outcome, error, self.now)

    def waits(self, seconds: float) -> float | None:
        self.now += seconds
        return self.executor.tick(self.now)

    def news(self) -> set[str]:
        """The tasks reported since the last look."""
        changes = self.executor.reports()
        self.reported |= {key[2]: value for key, value in changes.items()}
        assert all(key[:2] == (CONTAINER, "a") for key in changes)
        return {key[2] for key in changes}

    def report(self, task: str) -> ContainerReport:
        self.news()
        found = self.reported[task]
        assert found is not None
        return found

    def brought_up(self, task: str) -> None:
        self.command("run", task)
        for step, shown in ((Input.PUT, "created"), (Input.START, "running")):
            assert self.steps() == [(task, step.value)]
            self.replies(task, step)
            self.says({task: shown})


@pytest.fixture
def agent() -> Agent:
    return Agent()


def test_only_so_many_requests_are_in_flight() -> None:
    agent = Agent(in_flight_limit=2)
    agent.command("run", "t-0", "t-1", "t-2", "t-3")
    assert agent.steps() == [("t-0", "put"), ("t-1", "put")]
    assert agent.steps() == []
    agent.replies("t-0", Input.PUT)
    assert agent.steps() == [("t-2", "put")]
    agent.replies("t-1", Input.PUT, "unanswered", "timed out")
    agent.replies("t-2", Input.PUT, "refused", "no")
    assert agent.steps() == [("t-3", "put")], "every outcome frees a place"


def test_a_container_has_one_request_in_flight(agent: Agent) -> None:
    agent.command("run", "t-0")
    assert agent.steps() == [("t-0", "put")]
    agent.says({"t-0": "created"})
    assert agent.steps() == [], "the put is not answered yet"
    agent.replies("t-0", Input.PUT)
    assert agent.steps() == [("t-0", "start")]


def test_the_put_carries_the_config_of_its_prefix_and_nothing_else_does(agent: Agent) -> None:
    agent.command("run", "t-0", prefix="q")
    (put,) = agent.requests()
    assert put == Request(task="t-0", step=Input.PUT, body=b"other\n")
    agent.says({"t-0": "created"})
    agent.replies("t-0", Input.PUT)
    (start,) = agent.requests()
    assert start.body == b""


def test_a_reply_is_no_proof(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT)
    assert agent.report("t-0").phase is Phase.CREATING
    assert agent.steps() == []


def test_metrics_alone_are_no_change(agent: Agent) -> None:
    agent.brought_up("t-0")
    agent.news()
    running = instance("t-0")
    sample = Metrics(cpu_time=5, memory_usage=6, memory_limit=7)
    state = msgspec.structs.replace(running.process_state, container_metrics=sample)
    agent.executor.saw(
        {"t-0": msgspec.structs.replace(running, process_state=state)}, everything=False, now=agent.now
    )
    assert agent.news() == set()
    assert agent.executor.metrics() == {"t-0": sample}, "but they are there to be sampled"
    assert agent.reported["t-0"] is not None
    assert agent.reported["t-0"].instance == running, "and never in a report"
    restarted = msgspec.structs.replace(state, restarts=1)
    agent.executor.saw(
        {"t-0": msgspec.structs.replace(running, process_state=restarted)}, everything=False, now=agent.now
    )
    assert agent.news() == {"t-0"}


def test_what_is_not_in_the_full_state_is_gone(agent: Agent) -> None:
    agent.brought_up("t-0")
    agent.says({"other": "running"})
    agent.news()
    agent.says({"other": "running"}, everything=True)
    assert agent.news() == {"t-0"}
    assert agent.report("t-0").phase is Phase.ABSENT
    assert agent.steps() == [("t-0", "put")], "it is wanted, so it is made again"


def test_a_foreign_container_is_reported_and_left_alone(agent: Agent) -> None:
    agent.says({"x": "running", "y": "paused"}, everything=True)
    assert (agent.report("x").phase, agent.report("x").goal) == (Phase.RUNNING, "")
    assert agent.report("y").phase is Phase.UNCLEAR
    assert agent.steps() == []
    agent.says({}, everything=True)
    assert agent.news() == {"x", "y"}
    assert agent.reported == {"x": None, "y": None}


def test_a_container_heard_of_only_as_gone_leaves_no_trace(agent: Agent) -> None:
    agent.says({"x": "deleted"})
    assert agent.news() == set()
    assert agent.executor._records == {}


def test_a_request_in_flight_is_not_forgotten_with_its_container(agent: Agent) -> None:
    agent.brought_up("t-0")
    agent.command("stop", "t-0", generation=2)
    assert agent.steps() == [("t-0", "stop")]
    agent.says({"t-0": "deleted"})
    assert agent.report("t-0").phase is Phase.UNCLEAR, "the stop in flight may still do something"
    agent.command("forget", "t-0", generation=2)
    agent.replies("t-0", Input.STOP, "contradicted")
    agent.news()
    assert agent.reported["t-0"] is None
    assert agent.executor._records == {}


@pytest.mark.parametrize("step", [Input.PUT, Input.START, Input.STOP])
def test_a_request_that_nothing_proves_in_time_is_tried_again(agent: Agent, step: Input) -> None:
    if step is Input.PUT:
        agent.command("run", "t-0")
    elif step is Input.START:
        agent.says({"t-0": "created"})
        agent.command("run", "t-0")
    else:
        agent.says({"t-0": "running"})
        agent.command("stop", "t-0")
    assert agent.steps() == [("t-0", step.value)]
    agent.replies("t-0", step)
    limit = DEADLINE_SECONDS[step]
    assert agent.waits(0.0) == agent.now + limit, "it says when to look again"
    agent.waits(limit - 1)
    assert agent.steps() == []
    agent.waits(1)
    assert "in time" in agent.report("t-0").error
    agent.waits(FIRST_RETRY_SECONDS)
    assert agent.steps() == [("t-0", step.value)]


def test_pauses_between_tries_double_up_to_a_limit_with_jitter_and_end_with_success(agent: Agent) -> None:
    agent.says({"t-0": "created"})
    agent.command("run", "t-0")
    longest = FIRST_RETRY_SECONDS
    for _ in range(12):
        assert agent.steps() == [("t-0", "start")]
        agent.replies("t-0", Input.START, "refused", "500")
        due = agent.waits(0.0)
        assert due is not None
        assert longest / 2 <= due - agent.now <= longest
        agent.waits((due - agent.now) * 0.9)
        assert agent.steps() == [], "not earlier"
        agent.waits(due - agent.now)
        longest = min(LONGEST_RETRY_SECONDS, longest * 2)
    agent.steps()
    agent.says({"t-0": "running"})
    agent.replies("t-0", Input.START)
    assert agent.report("t-0").error == ""
    agent.says({}, everything=True)
    agent.steps()
    agent.replies("t-0", Input.PUT, "refused", "500")
    due = agent.waits(0.0)
    assert due is not None
    assert due - agent.now <= FIRST_RETRY_SECONDS, "the next trouble begins with a short pause"


def test_another_goal_does_not_wait_for_the_pause_of_the_first(agent: Agent) -> None:
    agent.says({"t-0": "created"})
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.START, "refused", "500")
    assert agent.steps() == []
    agent.command("stop", "t-0", generation=2)
    assert agent.steps() == [("t-0", "delete")]
    assert agent.report("t-0").error == ""


def test_a_failed_reply_after_the_proof_is_no_failure(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT)
    agent.says({"t-0": "created"})
    agent.steps()
    agent.says({"t-0": "running"})
    agent.replies("t-0", Input.START, "unanswered", "timed out")
    assert (agent.report("t-0").phase, agent.report("t-0").error) == (Phase.RUNNING, "")
    agent.command("stop", "t-0", generation=2)
    assert agent.steps() == [("t-0", "stop")], "and nothing waits because of it"


def test_a_refused_put_that_was_done_is_found_and_removed(agent: Agent) -> None:
    """Its refusal is no proof of absence: not before a full state that is young enough."""
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "refused", "500, but it is done")
    agent.command("stop", "t-0", generation=2)
    assert agent.report("t-0").phase is Phase.UNCLEAR
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.UNCLEAR, "this may be older than the put"
    agent.waits(REFUSED_SECONDS)
    assert agent.executor.contradicted, "the full state is asked for"
    agent.says({"t-0": "created"}, everything=True)
    assert agent.steps() == [("t-0", "delete")]


def test_a_refused_put_that_was_not_done_is_absent_once_the_full_state_says_so(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "refused", "500")
    agent.command("stop", "t-0", generation=2)
    agent.waits(REFUSED_SECONDS)
    assert agent.report("t-0").phase is Phase.UNCLEAR
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.ABSENT


def test_a_refusal_does_not_shorten_the_doubt_about_an_unanswered_put(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "unanswered", "timed out")
    unanswered_at = agent.now
    agent.waits(FIRST_RETRY_SECONDS)
    agent.steps()
    agent.replies("t-0", Input.PUT, "refused", "500")
    agent.command("stop", "t-0", generation=2)
    agent.waits(REFUSED_SECONDS + 1)
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.UNCLEAR, "the first may still arrive"
    agent.waits(unanswered_at + DOUBT_SECONDS - agent.now)
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.ABSENT


def test_of_several_unanswered_puts_the_arrival_of_one_says_nothing_of_the_others(agent: Agent) -> None:
    agent.command("run", "t-0")
    for _ in range(2):
        agent.steps()
        agent.replies("t-0", Input.PUT, "unanswered", "connection reset")
        agent.waits(FIRST_RETRY_SECONDS)
    agent.command("stop", "t-0", generation=2)
    agent.says({"t-0": "created"})
    assert agent.steps() == [("t-0", "delete")]
    agent.replies("t-0", Input.DELETE)
    agent.says({"t-0": "deleted"})
    assert agent.report("t-0").phase is Phase.UNCLEAR, "the other may still arrive"
    agent.waits(DOUBT_SECONDS)
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.ABSENT


def test_the_only_unanswered_put_is_in_no_doubt_once_it_has_arrived(agent: Agent) -> None:
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.PUT, "unanswered", "timed out")
    agent.command("stop", "t-0", generation=2)
    agent.says({"t-0": "created"})
    agent.steps()
    agent.replies("t-0", Input.DELETE)
    agent.says({"t-0": "deleted"})
    assert agent.report("t-0").phase is Phase.ABSENT


def test_a_refused_stop_or_start_leaves_no_doubt(agent: Agent) -> None:
    agent.says({"t-0": "created"})
    agent.command("run", "t-0")
    agent.steps()
    agent.replies("t-0", Input.START, "refused", "500")
    agent.says({"t-0": "running"})
    agent.command("stop", "t-0", generation=2)
    agent.waits(1.0)
    agent.steps()
    agent.replies("t-0", Input.STOP, "refused", "500")
    agent.says({}, everything=True)
    assert agent.report("t-0").phase is Phase.ABSENT


def test_a_reply_for_a_container_that_is_not_there_frees_its_place() -> None:
    agent = Agent(in_flight_limit=1)
    agent.command("run", "t-0")
    agent.steps()
    agent.command("forget", "t-0")
    agent.replies("t-0", Input.PUT, "refused", "no")
    agent.command("run", "t-1")
    assert agent.steps() == [("t-1", "put")]


def test_the_part_of_a_batch_has_the_configs_it_needs() -> None:
    run = Command(task="t-0", generation=1, goal="run", prefix="p")
    other = Command(task="u-0", generation=1, goal="run", prefix="q")
    stop = Command(task="v-0", generation=1, goal="stop")
    batch = Batch(commands={"a": (run, stop), "b": (other,)}, configs={"p": b"1", "q": b"2"})
    assert batch.part({"a", "x"}) == Batch(commands={"a": (run, stop)}, configs={"p": b"1"})
    assert batch.part({"a", "b"}) == batch


def test_commands_for_an_earlier_life_are_dropped_when_those_for_a_later_one_come() -> None:
    run = Command(task="t-0", generation=1, goal="run")
    stop = Command(task="t-0", generation=2, goal="stop")
    first = Batch(commands={"a": (run,), "b": (run,)}, configs={}, lives={"a": "one", "b": "one"})
    assert first.is_for("a", "one")
    assert not first.is_for("a", "two")
    assert not first.is_for("c", "one")
    assert first.part({"b"}).lives == {"b": "one"}
    both = first.then(
        Batch(commands={"a": (stop,), "b": (stop,)}, configs={}, lives={"a": "two", "b": "one"})
    )
    assert both.commands == {"a": (stop,), "b": (run, stop)}
    assert both.lives == {"a": "two", "b": "one"}


def test_it_is_busy_until_the_last_request_is_answered_and_proven(agent: Agent) -> None:
    assert not agent.executor.busy
    agent.command("run", "t-0", "t-1")
    agent.steps()
    agent.says({"t-0": "created"})
    agent.replies("t-0", Input.PUT)
    assert agent.executor.busy, "t-1 is neither answered nor there"
    agent.replies("t-1", Input.PUT, "refused", "no")
    assert not agent.executor.busy, "nothing is under way before the next try"
    assert agent.steps() == [("t-0", "start")]
    agent.replies("t-0", Input.START)
    assert agent.executor.busy, "the event that proves it has not come"
    agent.says({"t-0": "running"})
    assert not agent.executor.busy
    agent.command("stop", "t-0", generation=2)
    agent.steps()
    agent.says({}, everything=True)
    assert agent.executor.busy, "it is gone, but the request is not answered"
    agent.replies("t-0", Input.STOP)
    assert not agent.executor.busy
