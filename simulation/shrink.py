"""Making a failing scenario small: leave out what is not needed for the same failure."""

from __future__ import annotations

from collections.abc import Callable

from simulation.runs import USUAL, run, scenario_of
from simulation.scenario import Profile

# A shrink is for reading, not for ever.
MOST_RUNS = 300


def shrink(seed: int, invariant: str, profile: Profile = USUAL) -> list[int]:
    """The numbers of the acts that are enough to break this invariant (delta debugging)."""
    runs = 0

    def fails(acts: list[int]) -> bool:
        nonlocal runs
        runs += 1
        violation = run(seed, profile, only=acts).violation
        return violation is not None and violation.invariant == invariant

    everything = list(range(len(scenario_of(seed, profile).acts)))
    return _minimal(everything, fails, lambda: runs >= MOST_RUNS)


def _minimal(acts: list[int], fails: Callable[[list[int]], bool], enough: Callable[[], bool]) -> list[int]:
    """Drop ever smaller chunks for as long as it still fails."""
    chunk = max(1, len(acts) // 2)
    while True:
        dropped = False
        position = 0
        while position < len(acts) and not enough():
            rest = acts[:position] + acts[position + chunk :]
            if fails(rest):
                acts, dropped = rest, True
            else:
                position += chunk
        if enough() or (chunk == 1 and not dropped):
            return acts
        chunk = max(1, chunk // 2)
