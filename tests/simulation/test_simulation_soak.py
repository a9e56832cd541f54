"""What a soak says it has checked: it counts right, the same on any number of cores, and fails when short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from actors.messages import Mutate
from simulation import soak
from simulation.decisions import CLASSES, Decisions, class_of
from simulation.report import checked
from simulation.runs import USUAL, run, scenario_of
from simulation.scenario import FAULTS, Act, Profile
from simulation.soak import FEWEST_DECISIONS, FEWEST_FAULTS, play, too_few, total
from simulation.world import World

ROOT = Path(__file__).parents[2]
SEEDS = range(24)


def test_every_fault_has_a_class_and_every_class_a_fault() -> None:
    assert {class_of(kind) for kind in FAULTS} == set(CLASSES)
    assert set(CLASSES) == {
        "agent", "network", "state machine", "flock", "shepherd", "scheduler", "transformer", "registry",
        "disk", "discovery", "supervisor",
    }  # fmt: skip
    with pytest.raises(ValueError, match='"the moon falls" belongs to no class'):
        class_of("the moon falls")


def test_a_decision_counts_for_every_class_that_has_struck_before_it_once() -> None:
    decisions = Decisions()
    decisions.decided(5)
    assert not decisions.made
    decisions.struck("scheduler is killed")
    decisions.struck("scheduler hangs")
    decisions.decided(3)
    decisions.struck("network is cut")
    decisions.decided()
    assert decisions.faults == {"scheduler": 2, "network": 1}
    assert decisions.made == {"scheduler": 4, "network": 1}


def test_what_only_prepares_for_a_fault_is_none() -> None:
    decisions = Decisions()
    decisions.struck("disk is copied")
    decisions.decided()
    assert not decisions.faults
    assert not decisions.made


def test_requests_to_agents_and_mutations_of_actors_are_decisions_and_those_of_users_are_not() -> None:
    made = scenario_of(3)
    asked = tuple(act for act in made.acts if act.kind not in FAULTS and not act.kind.startswith("disk"))
    world = World(msgspec.structs.replace(made, acts=(Act(0.0, "transformer hangs"), *asked)), Random(3))
    proposed = 0
    on_send: Callable[..., None] = world.stage.on_send

    def count(sender: Any, target: Any, message: Any) -> None:
        nonlocal proposed
        proposed += len(message.mutations) if isinstance(message, Mutate) and sender is not None else 0
        on_send(sender, target, message)

    world.stage.on_send = count
    result = world.run()
    assert result.violation is None
    assert min(world.network.requests, proposed, len(world.users.asked)) > 3
    assert result.decisions.faults == {"transformer": 1}
    assert result.decisions.made == {"transformer": world.network.requests + proposed}


def test_a_run_without_faults_has_no_decisions_under_any() -> None:
    made = scenario_of(3)
    asked = tuple(act for act in made.acts if act.kind not in FAULTS)
    decisions = World(msgspec.structs.replace(made, acts=asked), Random(3)).run().decisions
    assert not decisions.faults
    assert not decisions.made


def test_many_processes_find_what_one_does() -> None:
    alone, together = (list(soak.play_all(SEEDS, USUAL, jobs)) for jobs in (1, 3))
    assert [outcome.seed for outcome in together] == list(SEEDS), "in their order"
    assert [outcome.digest for outcome in together] == [outcome.digest for outcome in alone]
    for one, other in zip(alone, together, strict=True):
        assert (one.steps, one.checks, one.violation) == (other.steps, other.checks, other.violation)
        assert (one.decisions.faults, one.decisions.made) == (other.decisions.faults, other.decisions.made)
        assert (one.reach.rows, one.reach.hits) == (other.reach.rows, other.reach.hits)


def test_it_says_how_far_it_is_and_which_seeds_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "PROGRESS_SECONDS", 0.0)
    broken = msgspec.structs.replace(play(1, USUAL), violation=("runs once", "runs once: twice"))
    monkeypatch.setattr(soak, "play_all", lambda *_: iter([broken, play(2, USUAL)]))
    lines: list[str] = []
    totals = total([1, 2], USUAL, 1, lines.append)
    assert lines[0] == "seed 1 fails: runs once: twice"
    assert [line.partition(" s")[0] for line in lines[1:]] == ["1 of 2", "2 of 2"]
    assert "1 fail" in lines[1]
    assert totals.failed == {"runs once": [1]}


def test_too_few_faults_or_decisions_of_any_class_are_named() -> None:
    decisions = Decisions()
    for each in CLASSES:
        decisions.faults[each], decisions.made[each] = FEWEST_FAULTS, FEWEST_DECISIONS
    assert too_few(decisions) == []
    decisions.faults["disk"] -= 1
    decisions.made["flock"] -= 1
    assert too_few(decisions) == [
        "too few faults of class disk: 999 of 1000",
        "too few decisions under flock: 4999 of 5000",
    ]
    assert len(too_few(Decisions())) == 2 * len(CLASSES)
    assert ["disk", "999", "5000"] in [line.split() for line in checked(decisions)]


def test_a_soak_that_is_too_short_fails_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simulation", "--soak", "2"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "2 seeds, " in done.stdout
    assert "too few faults of class registry: " in done.stdout


def breaks_down(seed: int, profile: Profile) -> Any:
    """A run, but for one seed; a StopIteration would end any iteration over runs without a word."""
    if seed == 5:
        raise StopIteration
    return run(seed, profile)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_that_raises_fails_by_its_seed_and_the_others_go_on(
    jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "run", breaks_down)
    lines: list[str] = []
    totals = total(range(4, 8), USUAL, jobs, lines.append)
    assert (totals.seeds, totals.failed) == (4, {soak.CRASH: [5]})
    assert lines[0].startswith("seed 5 fails: ")
    assert "StopIteration" in lines[0]


def killed(seed: int, _profile: Profile) -> Any:
    """The process that runs this seed is killed."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(seed)


def test_a_process_that_is_killed_fails_the_soak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "run", killed)
    with pytest.raises(RuntimeError, match="a process was killed while it ran seed 4"):
        total(range(4, 8), USUAL, 2, lambda _line: None)
