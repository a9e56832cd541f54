"""The transformer's rule where its order against other actors matters."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from rules_made import agent, job_config, placement, report, status, version_of

from config.bounds import LONGEST_KEPT_SECONDS
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER
from scheduling.desired import AGENT, JOB, PLACEMENT
from scheduling.job import task_id
from scheduling.lifecycle import Phase
from scheduling.transformer import Transformer

WEB = version_of(job_config())
TASK = task_id(WEB.prefix, 0)


def placed(tasks: int) -> Transformer:
    """One that has commanded so many tasks to run on agent a, at 0 s."""
    transformer = Transformer()
    names = [task_id(WEB.prefix, index) for index in range(tasks)]
    transformer.desired_changed({(JOB, WEB.prefix): WEB, (AGENT, "a"): agent("a")})
    transformer.desired_changed(
        {(PLACEMENT, name): placement(name, ("a", "run"), generation=3) for name in names}
    )
    transformer.actual_changed({(ACTUAL_AGENT, "a"): status("a")})
    assert commanded(transformer, 0.0) == set(names)
    return transformer


def commanded(transformer: Transformer, now: float) -> set[str]:
    transformer.resend(now)
    return {command.task for batch in transformer.decide(now).commands.values() for command in batch}


def echo(transformer: Transformer, indices: Iterable[int], now: float) -> None:
    names = [task_id(WEB.prefix, index) for index in indices]
    transformer.actual_changed(
        {
            (CONTAINER, "a", name): report("a", name, Phase.CREATING, goal="run", generation=3)
            for name in names
        }
    )
    assert commanded(transformer, now) == set()


def test_a_command_that_is_not_echoed_is_sent_again() -> None:
    transformer = placed(1)
    assert commanded(transformer, 4.9) == set()
    assert commanded(transformer, 5.1) == {TASK}
    assert commanded(transformer, 10.0) == set()
    assert commanded(transformer, 10.2) == {TASK}


def test_commands_that_are_late_because_they_are_many_are_not_sent_again() -> None:
    transformer = placed(5000)
    assert commanded(transformer, 14.0) == set()
    echo(transformer, range(4999), 14.5)
    assert commanded(transformer, 40.0) == set(), (
        "an echo took 14.5 s, and this one may take three times as long"
    )
    assert commanded(transformer, 44.0) == {task_id(WEB.prefix, 4999)}


def test_however_slow_echoes_are_a_lost_command_is_sent_again() -> None:
    transformer = placed(50_000)
    echo(transformer, range(49_999), 59.0)
    assert commanded(transformer, 60.1) == {task_id(WEB.prefix, 49_999)}


def test_slow_echoes_are_forgotten_when_they_are_quick_again() -> None:
    transformer = placed(1000)
    echo(transformer, range(1), 4.0)
    for index in range(1, 900):
        transformer.desired_changed({(PLACEMENT, task_id(WEB.prefix, index)): None})
        transformer.desired_changed(
            {
                (PLACEMENT, task_id(WEB.prefix, index)): placement(
                    task_id(WEB.prefix, index), ("a", "run"), generation=3
                )
            }
        )
    transformer.resend(100.0)
    transformer.decide(100.0)
    echo(transformer, range(1, 999), 100.1)
    transformer.resend(106.0)
    assert set(transformer.decide(106.0).commands) == {"a"}, "the last one is lost, and others are quick"


def test_a_command_that_may_be_lost_with_a_state_machine_is_sent_again_at_once() -> None:
    """Its death and its successor's first word may come in one update: another link, though connected."""
    transformer = placed(1)
    transformer.actual_changed({(ACTUAL_AGENT, "a"): msgspec.structs.replace(status("a"), since=7.0)})
    assert commanded(transformer, 0.1) == {TASK}
    transformer.actual_changed(
        {(ACTUAL_AGENT, "a"): msgspec.structs.replace(status("a"), since=7.0, error="x")}
    )
    assert commanded(transformer, 0.2) == set()


def test_a_lost_agent_that_is_connected_again_is_asked_for_nothing_before_it_counts_as_back() -> None:
    """Its copy may be the one that stays, and that is written before the agent counts as back."""
    transformer = Transformer()
    transformer.desired_changed(
        {
            (JOB, WEB.prefix): WEB,
            (AGENT, "a"): agent("a", lost_since=1.0),
            (AGENT, "b"): agent("b"),
            (PLACEMENT, TASK): placement(TASK, ("a", "stop"), ("b", "run"), generation=5),
        }
    )
    transformer.actual_changed({(ACTUAL_AGENT, name): status(name) for name in "ab"})
    transformer.actual_changed(
        {(CONTAINER, "a", TASK): report("a", TASK, Phase.RUNNING, goal="run", generation=3)}
    )
    assert set(transformer.decide(10.0).commands) == {"b"}
    transformer.desired_changed({(AGENT, "a"): agent("a")})
    assert [each.goal for each in transformer.decide(20.0).commands["a"]] == ["stop"]


def test_commands_name_the_life_of_the_state_machine_they_are_meant_for() -> None:
    transformer = Transformer()
    transformer.desired_changed(
        {(JOB, WEB.prefix): WEB, (AGENT, "a"): agent("a"), (PLACEMENT, TASK): placement(TASK, ("a", "run"))}
    )
    for life in ("one", "two"):
        transformer.actual_changed({(ACTUAL_AGENT, "a"): status("a", link="stale")})
        transformer.decide(1.0)
        transformer.actual_changed({(ACTUAL_AGENT, "a"): msgspec.structs.replace(status("a"), life=life)})
        batch = transformer.decide(2.0)
        assert set(batch.commands) == {"a"}
        assert batch.is_for("a", life)


def test_proofs_of_absence_are_forgotten_when_it_is_quiet_or_after_ten_seconds() -> None:
    transformer = Transformer()
    transformer.desired_changed({(AGENT, "a"): agent("a")})
    transformer.actual_changed({(ACTUAL_AGENT, "a"): status("a")})

    def gone(index: int, now: float) -> None:
        name = task_id(WEB.prefix, index)
        absent = report("a", name, Phase.ABSENT, goal="stop", generation=3)
        transformer.actual_changed({(CONTAINER, "a", name): absent})
        assert not transformer.decide(now).commands, "nobody waits for that"

    gone(0, 1.0)
    assert commanded(transformer, 1.9) == set()
    gone(1, 1.9)
    assert commanded(transformer, 2.8) == set()
    names = {task_id(WEB.prefix, index) for index in range(2)}
    assert commanded(transformer, 3.0) == names
    transformer.actual_changed({(CONTAINER, "a", name): None for name in names})
    until = 10.0 + LONGEST_KEPT_SECONDS
    steps = int(LONGEST_KEPT_SECONDS / 0.75)
    for step in range(steps):
        gone(2 + step, 10.0 + step * 0.75)
    assert commanded(transformer, until - 0.1) == set()
    assert len(commanded(transformer, until)) == steps, "without any quiet they are not kept for ever"
