"""Many seeds on all cores, with progress, and whether they were enough to mean something."""

from __future__ import annotations

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial

import msgspec

from simulation.decisions import CLASSES, Decisions
from simulation.reach import Reach
from simulation.runs import run
from simulation.scenario import Profile
from simulation.stage import ActorEndedError

# A soak that strikes or checks less than this, in any class of faults, has shown nothing.
FEWEST_FAULTS = 1_000
FEWEST_DECISIONS = 5_000
PROGRESS_SECONDS = 15.0
# What breaks where the simulator itself has failed; there is no story to tell then.
CRASH = "a run comes to its end"
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
    """Run one seed; the same wherever it runs. An exception is a failure of that seed, told as one."""
    try:
        result = run(seed, profile)
    except (Exception, ActorEndedError):  # noqa: BLE001 - whatever it is, it is told by its seed
        return Outcome(
            seed=seed,
            steps=0,
            checks=0,
            seconds=0.0,
            digest="",
            reach=Reach(),
            decisions=Decisions(),
            violation=(CRASH, f"{CRASH}: {traceback.format_exc()}"),
        )
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
    """All of them, in their order, on so many cores. Raises RuntimeError if a process is killed."""
    if jobs <= 1:
        yield from map(partial(play, profile=profile), seeds)
        return
    # Forked, so that what was switched off here is switched off there.
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("fork")) as pool:
        done = 0
        try:
            for outcome in pool.map(partial(play, profile=profile), seeds, chunksize=_CHUNK):
                yield outcome
                done += 1
        except BrokenProcessPool as error:
            text = f"a process was killed while it ran seed {seeds[done]} or one of the next {jobs * _CHUNK}"
            raise RuntimeError(text) from error


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
