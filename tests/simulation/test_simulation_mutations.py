"""Each protection switched off: the simulation finds that something breaks, within 200 seeds."""

import pytest

from simulation.mutations import MUTATIONS
from simulation.report import story
from simulation.runs import run
from simulation.shrink import shrink
from simulation.switches import Mutation
from simulation.world import Result

# Minutes of virtual time each: a slow machine may need longer than the usual limit.
pytestmark = pytest.mark.timeout(600)
SEEDS = 200


def first_violation(mutation: Mutation) -> Result | None:
    """The first run that breaks with the protection off, and only then."""
    for seed in range(SEEDS):
        with mutation.applied():
            result = run(seed, mutation.profile)
        if result.violation is not None and run(seed, mutation.profile).violation is None:
            return result
    return None


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_protection_switched_off_is_found(mutation: Mutation) -> None:
    assert first_violation(mutation) is not None, f"{SEEDS} seeds have not noticed this: {mutation.name}"


def test_a_failure_is_shrunk_and_told() -> None:
    mutation = next(each for each in MUTATIONS if each.name == "placements are written by compare-and-set")
    result = first_violation(mutation)
    assert result is not None
    assert result.violation is not None
    seed, invariant = result.scenario.seed, result.violation.invariant
    with mutation.applied():
        acts = shrink(seed, invariant, mutation.profile)
        again = run(seed, mutation.profile, only=acts)
    assert len(acts) < len(result.scenario.acts) / 2
    assert again.violation is not None
    assert again.violation.invariant == invariant
    told = "\n".join(story(again, acts))
    assert f"seed {seed} fails: {invariant}" in told
    assert f"--only {','.join(map(str, acts))}" in told
