"""Which silent agents count as lost, which lost ones are back, and when to doubt the network instead.

An agent that is not connected for longer than its tolerance is lost: that is written down as a fact, and
only then may its tasks run elsewhere. The brake: when more than half of the agents (at least three) are
away at once, the network is likelier to be broken than the hosts, and none is declared lost until they
return, an operator says so, or ten minutes have passed. Times are seconds since 1970, given.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import Actual
from scheduling.desired import Agent, Desired
from scheduling.job import task_prefix
from scheduling.registry import MarkLost

BRAKE_SHARE = 0.5
BRAKE_AGENTS = 3
BRAKE_SECONDS = 600.0


class Brake(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody is declared lost: `away` of `agents` are away, since about `since`; it ends at `until`."""

    since: float
    until: float
    away: int
    agents: int


class LostWatch:
    """Remembers since when the brake holds; everything else is read from the states."""

    def __init__(self, after_seconds: float) -> None:
        self._after_seconds = after_seconds
        self._braked_since: float | None = None
        self._first_seen: dict[str, float] = {}

    def brake(self, desired: Desired, actual: Actual, now: float) -> Brake | None:
        """The brake, while it holds."""
        followed = [name for name, agent in desired.agents.items() if agent.sources]
        away = sum(1 for name in followed if not is_connected(actual, name))
        if away < BRAKE_AGENTS or away <= BRAKE_SHARE * len(followed):
            self._braked_since = None
            return None
        if self._braked_since is None:
            self._braked_since = now
        until = self._braked_since + BRAKE_SECONDS
        if now >= until:
            return None
        return Brake(since=self._braked_since, until=until, away=away, agents=len(followed))

    def lost(self, desired: Desired, actual: Actual, now: float) -> list[MarkLost]:
        """The agents to write down as lost now; none while the brake holds."""
        self._first_seen = {name: self._first_seen.get(name, now) for name in desired.agents}
        if self.brake(desired, actual, now) is not None:
            return []
        lost = []
        for name, agent in desired.agents.items():
            if agent.lost_since is not None or is_connected(actual, name):
                continue
            since = self._away_since(name, actual)
            if now - since >= self.tolerance(agent, desired):
                lost.append(MarkLost(agent=name, since=since))
        return lost

    def tolerance(self, agent: Agent, desired: Desired) -> float:
        """How long this agent may be away: the fleet's setting, or less if a job on it says so."""
        afters = [
            after
            for task in desired.by_agent.get(agent.name, ())
            if (after := patience(desired, task)) is not None
        ]
        return min([self._after_seconds, *afters])

    def is_over(self, agent: Agent, desired: Desired, task: str, now: float) -> bool:
        """Whether this task may be replaced: its agent is lost, and for longer than its job tolerates."""
        after = patience(desired, task)
        return agent.lost_since is not None and now - agent.lost_since >= (
            self._after_seconds if after is None else after
        )

    def _away_since(self, name: str, actual: Actual) -> float:
        status = actual.agents.get(name)
        return status.since if status is not None else self._first_seen[name]


def is_connected(actual: Actual, name: str) -> bool:
    """Whether an agent's stream stands and has brought its state."""
    status = actual.agents.get(name)
    return status is not None and status.link == "connected" and status.answered


def returned(desired: Desired, actual: Actual) -> list[str]:
    """Lost agents that are connected again."""
    return [
        name
        for name, agent in desired.agents.items()
        if agent.lost_since is not None and is_connected(actual, name)
    ]


def patience(desired: Desired, task: str) -> float | None:
    """How long the job of this task waits for a lost agent, in seconds; None: as the fleet's setting."""
    job = desired.jobs.get(task_prefix(task))
    policy = job.config.on_lost if job is not None else None
    return policy.after.seconds if policy is not None else None
