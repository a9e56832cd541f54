"""The command line: one seed again, or many of them, with a story for the first that fails."""

from __future__ import annotations

import argparse
import sys
import time

from simulation import world
from simulation.mutations import MUTATIONS
from simulation.reach import Reach
from simulation.report import missing, reached, story
from simulation.runs import USUAL, run
from simulation.scenario import Profile
from simulation.shrink import shrink


def main() -> int:
    """Returns 1 when an invariant broke."""
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
    if options.seeds:
        first, _, last = options.seeds.partition("..")
        return _many(range(int(first), int(last or first) + 1), profile)
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


def _many(seeds: range, profile: Profile) -> int:
    began = time.perf_counter()
    reach, steps, checks, virtual = Reach(), 0, 0, 0.0
    failed: dict[str, list[int]] = {}
    for seed in seeds:
        result = run(seed, profile)
        reach.add(result.reach)
        steps, checks, virtual = steps + result.steps, checks + result.checks, virtual + result.seconds
        if result.violation is not None:
            failed.setdefault(result.violation.invariant, []).append(seed)
            print(f"seed {seed} fails: {result.violation}", file=sys.stderr)
    print("\n".join(reached(reach)))
    print("\n".join(f"never reached: {line}" for line in missing(reach)))
    took = time.perf_counter() - began
    print(f"{len(seeds)} seeds, {steps} steps, {checks} checks, {virtual / 3600:.1f} h in {took:.0f} s")
    for invariant, failing in failed.items():
        print(f"{len(failing)} seeds break: {invariant} ({', '.join(map(str, failing[:10]))})")
        _tell(failing[0], invariant, profile)
    return 1 if failed else 0


def _tell(seed: int, invariant: str, profile: Profile) -> None:
    acts = shrink(seed, invariant, profile)
    print("\n".join(story(run(seed, profile, only=acts), acts)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run this one, exactly as before")
    what.add_argument("--seeds", metavar="A..B", help="run all of these, and say what was reached")
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
