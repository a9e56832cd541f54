"""Which silent agents count as lost, which lost ones are back, and when to doubt the network instead.

An agent that is not connected for longer than its tolerance is lost: that is written down as a fact, and
only then may its tasks run elsewhere. The brake: when more than half of the agents (at least three) are
away at once, the network is likelier to be broken than the hosts, and none is declared lost until they
return, an operator releases it, or ten minutes have passed. An agent that its operator declares lost is
lost without waiting. Times are seconds since 1970, given.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import Actual
from scheduling.desired import Agent, Desired
from scheduling.job import task_prefix
from scheduling.presence import EndRelease, MarkLost

BRAKE_SHARE = 0.5
BRAKE_AGENTS = 3
BRAKE_SECONDS = 600.0
# When the network is whole again its agents come back one after the other, within this time.
RETURN_SECONDS = 20.0


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
        self._eased_at: float | None = None
        self._first_seen: dict[str, float] = {}

    def brake(self, desired: Desired, actual: Actual, now: float) -> Brake | None:
        """The brake, while it holds."""
        away, agents = count_away(desired, actual)
        if not are_many(away, agents):
            if self._braked_since is not None:
                self._braked_since, self._eased_at = None, now
            return None
        if self._braked_since is None:
            self._braked_since = now
        until = self._braked_since + BRAKE_SECONDS
        if now >= until or desired.brake_release is not None:
            return None
        return Brake(since=self._braked_since, until=until, away=away, agents=agents)

    def lost(self, desired: Desired, actual: Actual, now: float) -> list[MarkLost]:
        """The agents to write down as lost now; only those declared lost while the brake holds, and
        just after: the first who is back must not be the end of the others."""
        self._first_seen = {name: self._first_seen.get(name, now) for name in desired.agents}
        braked = self.brake(desired, actual, now) is not None
        returning = self._eased_at is not None and now - self._eased_at < RETURN_SECONDS
        doubted = braked or returning
        lost = []
        for name, agent in desired.agents.items():
            if agent.lost_since is not None or is_connected(actual, name):
                continue
            since = self._away_since(name, actual)
            if agent.declared_lost or (not doubted and now - since >= self.tolerance(agent, desired)):
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
        """Whether this task may be replaced: its agent is lost, and for longer than its job tolerates.

        Who declares an agent lost knows that there is nothing to wait for.
        """
        if agent.lost_since is None or agent.declared_lost:
            return agent.lost_since is not None
        after = patience(desired, task)
        return now - agent.lost_since >= (self._after_seconds if after is None else after)

    def _away_since(self, name: str, actual: Actual) -> float:
        status = actual.agents.get(name)
        return status.since if status is not None else self._first_seen[name]


def is_connected(actual: Actual, name: str) -> bool:
    """Whether an agent's stream stands and has brought its state."""
    status = actual.agents.get(name)
    return status is not None and status.link == "connected" and status.answered


def count_away(desired: Desired, actual: Actual) -> tuple[int, int]:
    """How many of the agents that somebody wants are away, and how many there are."""
    followed = [name for name, agent in desired.agents.items() if agent.sources]
    return sum(1 for name in followed if not is_connected(actual, name)), len(followed)


def are_many(away: int, agents: int) -> bool:
    """Whether so many are away at once that the network is doubted."""
    return away >= BRAKE_AGENTS and away > BRAKE_SHARE * agents


def ended_release(desired: Desired, actual: Actual) -> list[EndRelease]:
    """The release of the brake that is to be forgotten: the outage it was for is over."""
    release = desired.brake_release
    if release is None or are_many(*count_away(desired, actual)):
        return []
    return [EndRelease(expected=release.version)]


def returned(desired: Desired, actual: Actual) -> list[str]:
    """Agents that are connected again, or were all the time, though they are written down as lost."""
    return [
        name
        for name, agent in desired.agents.items()
        if (agent.lost_since is not None or agent.declared_lost) and is_connected(actual, name)
    ]


def patience(desired: Desired, task: str) -> float | None:
    """How long the job of this task waits for a lost agent, in seconds; None: as the fleet's setting."""
    job = desired.jobs.get(task_prefix(task))
    policy = job.config.on_lost if job is not None else None
    return policy.after.seconds if policy is not None else None
