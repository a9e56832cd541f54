"""Many seeds on all cores, with progress, and whether they were enough to mean something."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import msgspec

from simulation.decisions import CLASSES, Decisions
from simulation.reach import Reach
from simulation.runs import run
from simulation.scenario import Profile

# A soak that strikes or checks less than this, in any class of faults, has shown nothing.
FEWEST_FAULTS = 1_000
FEWEST_DECISIONS = 5_000
PROGRESS_SECONDS = 15.0
# Seeds that a process takes at a time.
_CHUNK = 8


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """One run, without its trace. `violation`: the invariant, and how it broke; empty when all hold."""

    seed: int
    steps: int
    checks: int
    seconds: float
    digest: str
    reach: Reach
    decisions: Decisions
    violation: tuple[str, str] = ("", "")


class Totals:
    """Many runs, added up."""

    def __init__(self) -> None:
        self.seeds = self.steps = self.checks = 0
        self.virtual_seconds = self.seconds = 0.0
        self.reach, self.decisions = Reach(), Decisions()
        # By invariant, the seeds that break it.
        self.failed: dict[str, list[int]] = {}

    def add(self, outcome: Outcome) -> None:
        """Count in one run."""
        self.seeds += 1
        self.steps += outcome.steps
        self.checks += outcome.checks
        self.virtual_seconds += outcome.seconds
        self.reach.add(outcome.reach)
        self.decisions.add(outcome.decisions)
        if outcome.violation[0]:
            self.failed.setdefault(outcome.violation[0], []).append(outcome.seed)


def play(seed: int, profile: Profile) -> Outcome:
    """Run one seed; the same wherever it runs."""
    result = run(seed, profile)
    broken = result.violation
    return Outcome(
        seed=seed,
        steps=result.steps,
        checks=result.checks,
        seconds=result.seconds,
        digest=result.digest,
        reach=result.reach,
        decisions=result.decisions,
        violation=(broken.invariant, str(broken)) if broken is not None else ("", ""),
    )


def play_all(seeds: Sequence[int], profile: Profile, jobs: int) -> Iterator[Outcome]:
    """All of them, in their order, on so many cores."""
    if jobs <= 1:
        yield from map(partial(play, profile=profile), seeds)
        return
    # Forked, so that what was switched off here is switched off there.
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap(partial(play, profile=profile), seeds, _CHUNK)


def total(seeds: Sequence[int], profile: Profile, jobs: int, tell: Callable[[str], None]) -> Totals:
    """Run all of these seeds; `tell` gets a line for each that fails, and now and then how far it is."""
    began = told_at = time.perf_counter()
    totals = Totals()
    for outcome in play_all(seeds, profile, jobs):
        totals.add(outcome)
        if outcome.violation[0]:
            tell(f"seed {outcome.seed} fails: {outcome.violation[1]}")
        now = time.perf_counter()
        if now - told_at >= PROGRESS_SECONDS:
            told_at = now
            failing = sum(map(len, totals.failed.values()))
            tell(f"{totals.seeds} of {len(seeds)} seeds, {failing} fail, {now - began:.0f} s")
    totals.seconds = time.perf_counter() - began
    return totals


def too_few(decisions: Decisions) -> list[str]:
    """For each class of faults of which there was not enough, a line that says so."""
    lines = []
    for each in CLASSES:
        if decisions.faults[each] < FEWEST_FAULTS:
            lines.append(f"too few faults of class {each}: {decisions.faults[each]} of {FEWEST_FAULTS}")
        if decisions.made[each] < FEWEST_DECISIONS:
            lines.append(f"too few decisions under {each}: {decisions.made[each]} of {FEWEST_DECISIONS}")
    return lines


def cores() -> int:
    """How many processes can work at a time."""
    return len(os.sched_getaffinity(0))
