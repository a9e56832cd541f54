"""The life of a container: the table is total, every input leads where it should, requests are guarded."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduling import lifecycle
from scheduling.diagram import mermaid, page
from scheduling.lifecycle import (
    NEXT,
    PENDING,
    REQUESTS,
    STEPS,
    IllegalRequestError,
    Input,
    Phase,
    advance,
    seen,
)

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"

# The whole table once more, as a reader would say it: from each phase, what leads to which other phase.
# What is not here leaves a container where it is; a request that is not here is illegal.
LEADS = """
absent:   put creating, created created, running running, ended ended, other unclear
creating: delete deleting, created created, running running, ended ended, gone absent, refused absent,
          deadline absent
created:  start starting, delete deleting, running running, ended ended, gone absent, other unclear
starting: running running, ended ended, gone absent, refused created, deadline created
running:  stop stopping, created created, ended ended, gone absent, other unclear
stopping: created created, ended ended, gone absent, refused running, deadline running
ended:    delete deleting, created created, running running, gone absent, other unclear
deleting: running running, gone absent, refused ended, deadline ended
unclear:  stop stopping, created created, running running, ended ended, gone absent
"""
WORDS = {
    "created": Input.SAW_CREATED,
    "running": Input.SAW_RUNNING,
    "ended": Input.SAW_ENDED,
    "gone": Input.SAW_GONE,
    "other": Input.SAW_OTHER,
}


def told() -> dict[tuple[Phase, Input], Phase]:
    leads: dict[tuple[Phase, Input], Phase] = {}
    for line in LEADS.replace(",\n          ", ", ").strip().splitlines():
        phase, _, moves = line.partition(":")
        for move in moves.split(","):
            word, after = move.split()
            leads[Phase(phase), WORDS.get(word) or Input(word)] = Phase(after)
    return leads


TOLD = told()


@pytest.mark.parametrize("said", Input)
@pytest.mark.parametrize("phase", Phase)
def test_every_input_leads_where_the_story_says(phase: Phase, said: Input) -> None:
    if said in REQUESTS and (phase, said) not in TOLD:
        with pytest.raises(IllegalRequestError, match=f"{said} is not possible while {phase}"):
            advance(phase, said)
    else:
        assert advance(phase, said) is TOLD.get((phase, said), phase)


def test_the_tables_are_total() -> None:
    assert set(NEXT) == {(phase, said) for phase in Phase for said in Input}
    assert set(STEPS) == {(phase, goal) for phase in Phase for goal in ("run", "stop", "")}


def test_requests_lead_to_phases_that_wait_and_only_proof_or_failure_leads_out() -> None:
    for (phase, said), after in NEXT.items():
        if said in REQUESTS:
            assert after is None or after in PENDING
        elif phase not in PENDING:
            assert after not in PENDING, "what an agent says never makes us wait for something else"
    for phase in PENDING:
        assert NEXT[phase, Input.DEADLINE] not in PENDING, "no phase waits for ever"
        assert NEXT[phase, Input.REFUSED] not in PENDING


def test_what_the_stream_says_is_believed() -> None:
    """A settled container goes to what the stream says; one being started or stopped is not set back."""
    for phase in Phase:
        assert advance(phase, Input.SAW_GONE) is Phase.ABSENT
        if phase is not Phase.STOPPING:
            assert advance(phase, Input.SAW_RUNNING) is Phase.RUNNING


@pytest.mark.parametrize("goal", ["run", "stop"])
@pytest.mark.parametrize("phase", Phase)
def test_from_every_phase_a_healthy_agent_brings_a_container_to_its_goal(phase: Phase, goal: str) -> None:
    """Follow the steps; the agent proves each. An ended task is not run again here: it is placed again."""
    proof = {
        Phase.CREATING: Input.SAW_CREATED,
        Phase.STARTING: Input.SAW_RUNNING,
        Phase.STOPPING: Input.SAW_ENDED,
        Phase.DELETING: Input.SAW_GONE,
    }
    for _ in range(10):
        step = STEPS[phase, goal]
        if step is None and phase not in PENDING:
            break
        phase = advance(phase, step) if step is not None else advance(phase, proof[phase])
    assert phase in ({Phase.RUNNING, Phase.ENDED, Phase.UNCLEAR} if goal == "run" else {Phase.ABSENT})


def test_nothing_is_done_to_a_container_without_a_goal() -> None:
    assert not any(STEPS[phase, ""] for phase in Phase)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("created", Input.SAW_CREATED),
        ("running", Input.SAW_RUNNING),
        ("finished", Input.SAW_ENDED),
        ("failed", Input.SAW_ENDED),
        ("deleted", Input.SAW_GONE),
        ("", Input.SAW_OTHER),
        ("Running", Input.SAW_OTHER),
        ("paused", Input.SAW_OTHER),
    ],
)
def test_each_word_of_an_agent_has_a_meaning(status: str, said: Input) -> None:
    assert seen(status) is said


def test_the_committed_diagram_is_the_generated_one() -> None:
    assert PAGE.read_text("utf-8") == page(), (
        "write it anew: python -m scheduling.diagram > docs/lifecycle.md"
    )


def test_the_diagram_shows_every_transition() -> None:
    arrows = [line for line in mermaid().splitlines() if "-->" in line and "[*]" not in line]
    drawn = {
        (arrow.split("-->")[0].strip(), said)
        for arrow in arrows
        for said in arrow.partition(": ")[2].split(", ")
    }
    assert drawn == {(phase.value, said.value) for (phase, said), after in TOLD.items() if after is not phase}


def test_a_lifecycle_that_is_not_complete_is_noticed_at_import(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(str(lifecycle.__file__)).read_text("utf-8")
    for broken in (
        source.replace("for phase in Phase\n    },\n}", "for phase in list(Phase)[1:]\n    },\n}", 1),
        source.replace('(_P.CREATED, "run"): Input.START', '(_P.CREATED, "run"): Input.PUT', 1),
    ):
        assert broken != source
        with pytest.raises(AssertionError):
            exec(compile(broken, "lifecycle", "exec"), {"__name__": "broken"})
