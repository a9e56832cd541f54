"""The command line: one seed again, or many of them, with a story for the first that fails."""

from __future__ import annotations

import argparse
import sys

from simulation import world
from simulation.mutations import MUTATIONS
from simulation.report import checked, missing, reached, story, told
from simulation.runs import USUAL, run
from simulation.scenario import Profile
from simulation.shrink import shrink
from simulation.soak import CRASH, cores, too_few, total


def main() -> int:
    """Returns 1 when an invariant broke, or a soak was too short."""
    options = _parser().parse_args()
    profile = USUAL
    if options.agents:
        profile = Profile(agents=(options.agents, options.agents))
    if options.steps:
        world.MOST_STEPS = options.steps
    if options.mutation:
        mutation = next(each for each in MUTATIONS if options.mutation in each.name)
        print(f"switched off: {mutation.name}")
        with mutation.applied():
            return _run(options, mutation.profile)
    return _run(options, profile)


def _run(options: argparse.Namespace, profile: Profile) -> int:
    if options.soak:
        return _many(range(options.soak), profile, options.jobs, soak=True)
    if options.seeds:
        first, _, last = options.seeds.partition("..")
        return _many(range(int(first), int(last or first) + 1), profile, options.jobs)
    only = [int(number) for number in options.only.split(",") if number] if options.only is not None else None
    result = run(options.seed, profile, only=only, aloud=options.verbose)
    print(f"seed {options.seed}: {result.steps} steps, {result.seconds:.0f} s, trace {result.digest}")
    if result.violation is None:
        print("all invariants hold")
        return 0
    if only is None:
        _tell(options.seed, result.violation.invariant, profile)
    else:
        print("\n".join(story(result, only)))
    return 1


def _many(seeds: range, profile: Profile, jobs: int, *, soak: bool = False) -> int:
    totals = total(seeds, profile, jobs, lambda line: print(line, file=sys.stderr, flush=True))
    print("\n".join(reached(totals.reach)))
    print("\n".join(told(totals.reach)))
    print("\n".join(f"never reached: {line}" for line in missing(totals.reach)))
    print("\n".join(checked(totals.decisions)))
    hours = totals.virtual_seconds / 3600
    print(f"{totals.seeds} seeds, {totals.steps} steps, {totals.checks} checks, {hours:.1f} h ", end="")
    print(f"in {totals.seconds:.0f} s on {jobs} cores")
    short = too_few(totals.decisions) if soak else []
    print("\n".join(short))
    for invariant, failing in totals.failed.items():
        print(f"{len(failing)} seeds break: {invariant} ({', '.join(map(str, failing[:10]))})")
        if invariant != CRASH:
            _tell(failing[0], invariant, profile)
    return 1 if totals.failed or short else 0


def _tell(seed: int, invariant: str, profile: Profile) -> None:
    acts = shrink(seed, invariant, profile)
    print("\n".join(story(run(seed, profile, only=acts), acts)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this one, exactly as before")
    what.add_argument("--seeds", metavar="A..B", help="run all of these, and say what was reached")
    what.add_argument("--soak", type=int, metavar="N", help="so many, and fail if they check too little")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes at a time; all cores without it")
    parser.add_argument(
        "--only", metavar="N,N", help="of a seed's acts, only these (a shrunk run names them)"
    )
    parser.add_argument("--agents", type=int, default=0, help="that many agents, instead of 3 to 5")
    parser.add_argument("--steps", type=int, default=0, help="give up after so many steps")
    parser.add_argument("--mutation", default="", help="switch off the protection whose name contains this")
    parser.add_argument("--verbose", action="store_true", help="print every line of the trace")
    return parser


if __name__ == "__main__":
    sys.exit(main())
