"""What a run, or many, have to say: the story of a failure, and what was reached."""

from __future__ import annotations

from collections.abc import Iterator

from scheduling.lifecycle import NEXT, Input, Phase
from simulation.decisions import CLASSES, Decisions
from simulation.reach import UNREACHABLE_HITS, UNREACHABLE_ROWS, Reach, fault_kinds, hit_combinations
from simulation.rows import DRAINING, EVERYWHERE, FAILURES, MIGRATIONS, RACES, REBALANCING, UNPLAYABLE
from simulation.world import Result

STORY_LINES = 60


def story(result: Result, acts: list[int] | None = None) -> Iterator[str]:
    """A failure, told: the cluster, what was done to it, what happened last, and how to see it again."""
    scenario, violation = result.scenario, result.violation
    if violation is None:
        return
    yield f"seed {scenario.seed} fails: {violation}"
    yield ""
    yield "The cluster:"
    for agent in scenario.agents:
        kind = "" if agent.modern else ", of 2015"
        yield f"  {agent.name}: {agent.mem} MB, {agent.cpu} cores, {agent.foreign} foreign containers{kind}"
    yield "What was done to it:"
    for act in scenario.acts:
        yield f"  {act}"
    yield "What happened, as far as it matters:"
    for line in result.trace.story(violation.about, STORY_LINES):
        yield f"  {line}"
    only = f" --only {','.join(map(str, acts))}" if acts is not None else ""
    yield f"To see it again: python -m simulation --seed {scenario.seed}{only} --verbose"


def reached(reach: Reach) -> Iterator[str]:
    """What the runs have reached, in numbers."""
    yield f"faults: {sum(reach.faults.values())} of {len(reach.faults)} kinds"
    for kind in fault_kinds():
        phases = ", ".join(f"{phase} {reach.hits[kind, phase]}" for phase in Phase if reach.hits[kind, phase])
        yield f"  {kind:<36} {reach.faults[kind]:>6}   hit: {phases or '-'}"
    yield "the lifecycle table: how often each row was used"
    for phase in Phase:
        row = ", ".join(f"{said} {reach.rows[phase, said]}" for said in Input if reach.rows[phase, said])
        yield f"  {phase:<10} {row or '-'}"


def told(reach: Reach) -> Iterator[str]:
    """How often each row of the tables of races and failures was reached."""
    tables = (
        ("table of races", RACES),
        ("table of failures", FAILURES),
        ("ways of migrations", MIGRATIONS),
        ("steps of draining", DRAINING),
        ("steps of scale all", EVERYWHERE),
        ("steps of rebalances", REBALANCING),
    )
    for title, rows in tables:
        yield f"the {title}: how often each was reached"
        for row in rows:
            yield f"  {row:<76} {reach.told[row] if row not in UNPLAYABLE else '-':>6}"


def checked(decisions: Decisions) -> Iterator[str]:
    """Of each class of faults, how many struck, and how much was decided under them and after."""
    yield f"{'class of faults':<16} {'faults':>9} {'decisions':>11}"
    for each in CLASSES:
        yield f"  {each:<14} {decisions.faults[each]:>9} {decisions.made[each]:>11}"


def missing(reach: Reach) -> Iterator[str]:
    """Combinations that are possible and were not reached."""
    for (phase, said), to in NEXT.items():
        if to is not None and (phase, said) not in UNREACHABLE_ROWS and not reach.rows[phase, said]:
            yield f"no container that is {phase} got: {said}"
    for kind, phase in hit_combinations():
        if (kind, phase) not in UNREACHABLE_HITS and not reach.hits[kind, phase]:
            yield f'no fault "{kind}" hit a container that is {phase}'
    for row in (*RACES, *FAILURES, *MIGRATIONS, *DRAINING, *EVERYWHERE, *REBALANCING):
        if row not in UNPLAYABLE and not reach.told[row]:
            yield f"this was not played: {row}"
