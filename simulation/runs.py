"""Running seeds: one by one, many, and with parts of a scenario left out."""

from __future__ import annotations

from collections.abc import Collection
from random import Random

import msgspec

from simulation import scenario
from simulation.scenario import Profile, Scenario
from simulation.world import Result, World

USUAL = Profile()


def run(
    seed: int, profile: Profile = USUAL, *, only: Collection[int] | None = None, aloud: bool = False
) -> Result:
    """One run. `only`: of the scenario's acts, those with these numbers."""
    rng = Random(seed)
    made = scenario.make(seed, rng, profile)
    if only is not None:
        acts = tuple(act for number, act in enumerate(made.acts) if number in only)
        made = msgspec.structs.replace(made, acts=acts)
    return World(made, rng, aloud=aloud).run()


def scenario_of(seed: int, profile: Profile = USUAL) -> Scenario:
    """What a seed stands for."""
    return scenario.make(seed, Random(seed), profile)
