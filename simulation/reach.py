"""What a run has reached: rows of the lifecycle table, faults by the phases they hit, rows of the tables of
races and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from scheduling import executor, lifecycle
from scheduling.lifecycle import Input, Phase
from simulation.rows import BY_FAULT
from simulation.scenario import FAULTS
from simulation.stage import Backstage

# Rows of the lifecycle table that can't be reached, and why.
UNREACHABLE_ROWS: dict[tuple[Phase, Input], str] = {
    (phase, said): "a reply or a deadline counts only while a request is pending"
    for phase in Phase
    if phase not in lifecycle.PENDING
    for said in (Input.REFUSED, Input.DEADLINE)
}
# Faults that can't hit a container in a phase, and why.
UNREACHABLE_HITS: dict[tuple[str, Phase], str] = {}


def fault_kinds() -> list[str]:
    """All kinds of faults."""
    return list(FAULTS)


def hit_combinations() -> list[tuple[str, Phase]]:
    """Every kind of fault with every phase it may hit a container in."""
    return [(kind, phase) for kind in FAULTS for phase in Phase]


class Reach:
    """Counts; those of many runs can be added up."""

    def __init__(self) -> None:
        self.rows: Counter[tuple[Phase, Input]] = Counter()
        self.faults: Counter[str] = Counter()
        self.hits: Counter[tuple[str, Phase]] = Counter()
        # By row of the tables of races and failures.
        self.told: Counter[str] = Counter()

    def struck(self, kind: str, machines: Iterable[Backstage]) -> None:
        """A fault has struck, with the containers of these state machines as they are."""
        self.faults[kind] += 1
        if kind in BY_FAULT:
            self.told[BY_FAULT[kind]] += 1
        phases = {
            record.phase for machine in machines for record in machine.performer.executor._records.values()
        }
        for phase in phases:
            self.hits[kind, phase] += 1

    def add(self, other: Reach) -> None:
        """Count in another run."""
        self.rows += other.rows
        self.faults += other.faults
        self.hits += other.hits
        self.told += other.told

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count the rows of the lifecycle table that are used meanwhile."""
        real = vars(executor)["advance"]

        def advance(phase: Phase, said: Input) -> Phase:
            self.rows[phase, said] += 1
            return lifecycle.advance(phase, said)

        setattr(executor, "advance", advance)  # noqa: B010 - it is not exported, says mypy
        try:
            yield
        finally:
            setattr(executor, "advance", real)  # noqa: B010 - as above
