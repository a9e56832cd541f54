"""Which agents are in one flock: those of one zone, up to a number. An agent stays in its flock.

By zone, so that a flock as a whole can be on a host near its agents (`scheduling.members`).
"""

from __future__ import annotations

import itertools

from config.bounds import MOST_ZONES

ZONE_LABEL = "zone"


class Flocks:
    """The agents (name → endpoint) of each flock, and its zone."""

    def __init__(self) -> None:
        self.agents: dict[str, dict[str, str]] = {}
        self.zones: dict[str, str] = {}
        self.of_agent: dict[str, str] = {}
        self._numbers = itertools.count(1)

    def put(self, agent: str, endpoint: str, zone: str, size: int) -> str | None:
        """Have an agent in a flock of its zone, which has at most `size` agents.

        Returns the flock that has to be told; None when it knows. An agent that is in one stays there, so it
        has to be taken out first if its zone is another.
        """
        flock = self.of_agent.get(agent) or self._roomy(self._counted(zone), size)
        if self.agents[flock].get(agent) == endpoint:
            return None
        self.agents[flock][agent] = endpoint
        self.of_agent[agent] = flock
        return flock

    def take_out(self, agent: str) -> str:
        """An agent is not to be followed any more, or in another flock; returns the one it was in."""
        flock = self.of_agent.pop(agent)
        del self.agents[flock][agent]
        return flock

    def forget(self, flock: str) -> None:
        """An empty flock ends."""
        del self.agents[flock]
        del self.zones[flock]

    def is_elsewhere(self, agent: str, zone: str) -> bool:
        """Whether an agent is in a flock of another zone than this one, which is its own."""
        flock = self.of_agent.get(agent)
        return flock is not None and self.zones[flock] != self._counted(zone)

    def _counted(self, zone: str) -> str:
        """Its zone, or none, where there are so many that each agent might have one of its own."""
        known = set(self.zones.values())
        return zone if zone in known or len(known) < MOST_ZONES else ""

    def _roomy(self, zone: str, size: int) -> str:
        for flock, agents in self.agents.items():
            if self.zones[flock] == zone and len(agents) < size:
                return flock
        flock = f"flock-{next(self._numbers)}"
        self.agents[flock], self.zones[flock] = {}, zone
        return flock
