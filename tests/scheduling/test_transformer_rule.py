"""The transformer's rule where its order against other actors matters."""

from __future__ import annotations

import msgspec
from rules_made import agent, job_config, placement, report, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER
from scheduling.desired import AGENT, JOB, PLACEMENT
from scheduling.job import task_id
from scheduling.lifecycle import Phase
from scheduling.transformer import Transformer

WEB = version_of(job_config())
TASK = task_id(WEB.prefix, 0)


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
