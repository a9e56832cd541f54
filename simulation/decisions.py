"""How much was decided under faults: counts by class of fault, so that a soak can say what it has checked.

A decision is a request that a state machine sends to an agent, or a mutation that an actor proposes to the
registry. It counts for a class of fault when one of that class has struck before it in the same run, which
ends when everything has recovered. Every one is judged by the invariants where it arrives.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from actors.messages import Mutate
from simulation.agent import Agent
from simulation.faults import Faults
from simulation.network import Network
from simulation.scenario import FAULTS
from simulation.stage import Address, Backstage, Stage

# What a kind of fault begins with, and its class.
_BEGINNINGS = {
    "agent": "agent", "artifacts": "agent", "starts": "agent", "task": "agent",
    "network": "network", "connections": "network", "state machine": "state machine", "flock": "flock",
    "shepherd": "shepherd", "scheduler": "scheduler", "transformer": "transformer", "registry": "registry",
    "disk is full": "disk", "discovery": "discovery", "supervisor": "supervisor",
}  # fmt: skip


def class_of(kind: str) -> str:
    """The class that a kind of fault belongs to. Raises ValueError for one that has none yet."""
    found = [each for beginning, each in _BEGINNINGS.items() if kind.startswith(beginning)]
    if not found:
        raise ValueError(f'the fault "{kind}" belongs to no class; name one in decisions.py')
    return found[0]


CLASSES = tuple(dict.fromkeys(class_of(kind) for kind in FAULTS))


class Decisions:
    """Faults and decisions by class, of one run; those of many can be added up."""

    def __init__(self) -> None:
        self.faults: Counter[str] = Counter()
        self.made: Counter[str] = Counter()
        self._struck: set[str] = set()

    def struck(self, kind: str) -> None:
        """A fault has struck. What only prepares for one (a disk is copied) is none."""
        if kind in FAULTS:
            self.faults[class_of(kind)] += 1
            self._struck.add(class_of(kind))

    def decided(self, count: int = 1) -> None:
        """So much was decided, after all that has struck so far."""
        for each in self._struck:
            self.made[each] += count

    def add(self, other: Decisions) -> None:
        """Count in another run."""
        self.faults += other.faults
        self.made += other.made

    def listen(self, stage: Stage, network: Network, faults: Faults) -> None:
        """Count what happens there, besides those who listen already."""
        on_send, on_request = stage.on_send, network.on_request

        def sent(sender: Backstage | None, target: Address, message: Any) -> None:
            if sender is not None and isinstance(message, Mutate):
                self.decided(len(message.mutations))
            on_send(sender, target, message)

        def requested(agent: Agent, machine: Backstage) -> None:
            self.decided()
            on_request(agent, machine)

        stage.on_send, network.on_request, faults.on_strike = sent, requested, self.struck
