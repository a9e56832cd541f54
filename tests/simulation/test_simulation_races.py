"""The rows of the table of races (docs/architecture.md) about writes, requests and what is unknown: each
with its story, which must fail without what settles it."""

import pytest
from story_checks import breaks, holds, off, until_runs, until_runs_anywhere

from scheduling import copies
from scheduling.job import Resources
from scheduling.jobs import ScheduleJob
from simulation.scenario import job_config
from simulation.scripted import script
from simulation.world import World

pytestmark = pytest.mark.timeout(300)


# --- a scheduler dies -------------------------------------------------------------------------------


def late_write(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed) as it:
        it.begin()
        it.strike("scheduler dies with late messages", seconds=6.0)
        (task,) = it.schedule("web")
        dying = it.actor("Scheduler")
        it.until(lambda: dying.performer._batch, "its decision is on its way")
        (write,) = dying.performer._sent
        first = write.copies[0].agent
        second = "b" if first == "a" else "a"
        it.strike("agent crashes, all kept", first, seconds=60.0)
        it.until(lambda: not dying.alive, "the scheduler dies")
        until_runs(it, task, second)
        row = it.row(task)
        it.pass_seconds(10.0)
        it.expect(it.row(task) == row, "the late write changes nothing")
        it.end()
        until_runs(it, task, second)


def test_a_scheduler_dies_with_a_write_in_flight_and_its_successor_decides_otherwise() -> None:
    """Settled by "compare-and-set on the row's generation; the loser re-reads"."""
    holds(late_write)
    breaks(late_write, "placements go on proof", "placements are written by compare-and-set")


# --- what is unknown --------------------------------------------------------------------------------


def runs_already(seed: int) -> None:
    config = job_config("web", 0, 1)
    task = f"{config.hash()}-0"

    def before(world: World) -> None:
        world.import_job(config)
        world.put("a", task, config.container(), "running")

    with script({"a": 400, "b": 400, "c": 400}, seed, lost_after_seconds=60.0, before=before) as it:
        it.strike("network is cut", "a", seconds=15.0)
        it.never["a second copy is made"] = lambda: it.holders(task) != ["a"]
        it.until(lambda: it.link("b") == it.link("c") == "connected", "the others answer")
        it.until(lambda: "may hold it" in it.waiting(config.hash()), "it is said why it waits")
        it.pass_seconds(5.0)
        it.expect(it.row(task) is None, "nothing is placed while an agent that might hold it is unknown")
        it.until(lambda: it.copies(task) == {"a": "run"}, "the row is written where it runs")
        it.end()
        it.expect(not it.requests(), "nobody was asked for anything")


def test_a_wanted_task_without_a_row_is_already_running_somewhere() -> None:
    """Settled by "it is adopted: the row is written where it runs; nothing is placed while an agent that
    might hold it is unknown and not lost"."""
    holds(runs_already)
    breaks(runs_already, "a second copy|runs once", "what runs without a placement is adopted")
    breaks(runs_already, "a second copy|nothing is placed", "nothing is placed while a holder is unknown")


def answers_late(seed: int) -> None:
    with script({"a": 400, "b": 400}, seed, lost_after_seconds=60.0) as it:
        it.begin()
        tasks = it.schedule("web", 2)
        late, _ = until_runs_anywhere(it, *tasks)
        rows = [it.row(task) for task in tasks]
        it.kill("Supervisor")
        it.strike("network is cut", late, seconds=40.0)
        it.put(it.config("web", 3))
        third = f"{tasks[0].removesuffix('-0')}-2"
        it.until(
            lambda: f"{late} may hold it" in it.waiting(third.removesuffix("-2")), "it is said why it waits"
        )
        it.pass_seconds(15.0)
        it.expect(it.row(third) is None, "nothing new of the job is placed")
        it.expect([it.row(task) for task in tasks] == rows, "the other rows are as before")
        it.until(lambda: it.link(late) == "connected", "it answers")
        it.until(lambda: it.runs_on(third), "the third runs")
        it.end()
        it.expect(len(it.requests("start ")) == 3, "each was started once")


def test_after_a_restart_some_agents_answer_late() -> None:
    """Settled by "nothing new of a job is placed while an agent with a row of it is unknown and not lost"."""
    holds(answers_late)
    breaks(answers_late, "it is said why", "nothing is placed while a holder is unknown")


def two_copies(seed: int) -> None:
    config = job_config("web", 0, 1)
    task = f"{config.hash()}-0"

    def before(world: World) -> None:
        world.import_job(config)
        world.put("a", task, config.container(), "created")
        world.put("b", task, config.container(), "running")

    with script({"a": 400, "b": 400}, seed, before=before) as it:
        it.never["the one that runs is stopped"] = lambda: it.requests("b: stop")
        it.until(lambda: it.copies(task) == {"b": "run"}, "the one that runs stays")
        it.expect(it.holders(task) == ["b"], "the other one is removed")
        it.end()


def test_two_copies_of_one_task_are_found() -> None:
    """Settled by "the one with the placement stays; without a placement the one that runs; the others get
    intent stop"."""
    holds(two_copies)
    by_name = off(copies, "_worth", lambda report: report.agent)
    breaks(two_copies, "the one that runs is stopped|the one that runs stays", by_name)


# --- requests ---------------------------------------------------------------------------------------


def called_again(seed: int) -> None:
    with script({"a": 400}, seed) as it:
        it.begin()
        it.strike("registry dies after a commit")
        asked = it.ask(ScheduleJob(config=it.config("web")))
        it.until(lambda: asked.answer is not None, "it is answered")
        it.expect(asked.tries > 1, "it was asked again")
        answer = asked.answer
        it.expect(answer is not None and answer.result == "created", f"the answer of the first try: {answer}")
        it.end()


def test_a_change_is_committed_then_the_handler_raises_and_is_called_again() -> None:
    """Settled by "the request id is stored with the change; the same id gets the same answer"."""
    holds(called_again)
    breaks(
        called_again, "the answer of the first try|done once", "a repeated request is answered from the store"
    )


def no_answer(seed: int) -> None:
    with script({"a": 400}, seed) as it:
        it.begin()
        it.strike("registry hangs over a write", seconds=15.0)
        asked = it.ask(ScheduleJob(config=it.config("web")))
        it.until(lambda: asked.tries > 1, "it is asked again")
        it.until(lambda: asked.answer is not None, "it is answered")
        answer = asked.answer
        it.expect(answer is not None and answer.result == "created", f"the answer of the first try: {answer}")
        it.end()
        (schedules,) = (line for line in it.logged("commits job"))
        it.expect(schedules, "it was done once")


def test_an_answer_does_not_come_in_time() -> None:
    """Settled by "503 with "outcome unknown"; repeating the same request id is safe": the second half. The
    first is in tests/web/test_web_races.py."""
    holds(no_answer)
    breaks(no_answer, "answer", "an unanswered request is repeated with its id")


# --- capacity ---------------------------------------------------------------------------------------


def full_to_the_last(seed: int) -> None:
    """Four of 100 MB fit into 400; a fifth does not, though the first four are only on their way."""
    with script({"a": 400}, seed) as it:
        it.begin()
        first = it.schedule("web", 2)
        until_runs_anywhere(it, *first)
        it.hold("a", "_fetched")
        it.put(it.config("web", 4))
        prefix = first[0].removesuffix("-0")
        it.until(lambda: all(it.row(f"{prefix}-{index}") for index in range(4)), "all four fit")
        (fifth,) = it.schedule("queue", resources=Resources(mem=50, cpu=0.1, fd=64))
        it.until(lambda: "short 50 MB" in it.waiting(fifth.removesuffix("-0")), "the fifth waits for room")
        it.pass_seconds(20.0)
        it.expect(it.row(fifth) is None, "it was not placed")


def test_capacity_counted_twice() -> None:
    """Settled by "used = union by container id of our rows and what the agent reports, plus what is
    foreign"."""
    holds(full_to_the_last)
    breaks(full_to_the_last, "all four fit", "a container is counted once")
    breaks(full_to_the_last, "short 50 MB|overfilled", "placements on their way are counted")
