"""What may be written of who is away: that an agent is lost or back, and an operator's word on it.

Two words are an operator's: that one agent is lost, whatever its tolerance and the brake say, and that the
brake is released for as long as so many are away. Both are forgotten by the scheduler, in the write that says
that the agent is back, and when the outage is over. Part of the registry's rule, see `scheduling.registry`.
"""

from __future__ import annotations

import msgspec

from scheduling.answer import ANY, Answer
from scheduling.desired import AGENT, FLEET, RELEASE, Agent, BrakeRelease, Desired
from scheduling.replica import Changes


class MarkLost(msgspec.Struct, frozen=True, kw_only=True):
    """Write down that an agent is lost, away since this time; None: that it is back."""

    agent: str
    since: float | None


class DeclareLost(msgspec.Struct, frozen=True, kw_only=True):
    """An operator says that an agent is lost: the scheduler need not wait, and no job's `on_lost` does.

    `expected`: the agent's version.
    """

    agent: str
    expected: int | None = None


class ReleaseBrake(msgspec.Struct, frozen=True, kw_only=True):
    """An operator says that the hosts are gone, not the network: the brake is released for this outage."""


class EndRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The outage that the brake was released for is over. `expected`: which release, by its version."""

    expected: int


def mark_lost(desired: Desired, mutation: MarkLost, version: int) -> tuple[Answer, Changes]:
    """The scheduler's word; that an agent is back takes back its operator's word too."""
    agent = desired.agents.get(mutation.agent)
    if agent is None:
        return _no_agent(mutation.agent)
    lost = agent.lost_since is not None
    if lost == (mutation.since is not None) and not (agent.declared_lost and not lost):
        return Answer(result="unchanged", message=f"{agent.name} is {_presence(agent)} already"), {}
    if mutation.since is None:
        changed = msgspec.structs.replace(agent, lost_since=None, declared_lost=False, version=version)
    else:
        changed = msgspec.structs.replace(agent, lost_since=mutation.since, version=version)
    return Answer(result="changed", message=f"{agent.name} is {_presence(changed)}"), {
        (AGENT, agent.name): changed
    }


def declare_lost(desired: Desired, mutation: DeclareLost, version: int) -> tuple[Answer, Changes]:
    """Whether the agent is away is not known here: who is connected is found to be back at once."""
    agent = desired.agents.get(mutation.agent)
    if agent is None:
        return _no_agent(mutation.agent)
    refused = not_as_seen(agent, agent.name, mutation.expected)
    if refused is not None:
        return refused, {}
    if agent.declared_lost:
        return Answer(result="unchanged", message=f"{agent.name} is declared lost already"), {}
    text = f"{agent.name} is declared lost; its tasks are placed elsewhere, until it answers again"
    changed = msgspec.structs.replace(agent, declared_lost=True, version=version)
    return Answer(result="changed", message=text), {(AGENT, agent.name): changed}


def release_brake(desired: Desired, _mutation: ReleaseBrake, version: int) -> tuple[Answer, Changes]:
    """Released until the scheduler sees that the outage is over."""
    if desired.brake_release is not None:
        return Answer(result="unchanged", message="the brake is released already"), {}
    text = "the brake is released; agents that are away for longer than is tolerated are lost"
    return Answer(result="changed", message=text), {(FLEET, RELEASE): BrakeRelease(version=version)}


def end_release(desired: Desired, mutation: EndRelease, _version: int) -> tuple[Answer, Changes]:
    """Compare-and-set: an operator may have released the brake again, for the next outage."""
    release = desired.brake_release
    if release is None or release.version != mutation.expected:
        return Answer(result="unchanged", message="that release of the brake is over already"), {}
    return Answer(result="changed", message="the release of the brake is over"), {(FLEET, RELEASE): None}


def not_as_seen(agent: Agent | None, name: str, expected: int | None) -> Answer | None:
    """The refusal where the agent is not at the version that the request has seen; 0: there must be none."""
    at = agent.version if agent is not None else 0
    if expected is None or expected == at or (expected == ANY and at):
        return None
    text = f"{name} is at version {at}, not {expected}" if at else f"there is no agent {name}, and was to be"
    if expected == 0:
        text = f"{name} is there already, at version {at}"
    return Answer(result="precondition failed", message=text)


def _no_agent(name: str) -> tuple[Answer, Changes]:
    return Answer(result="not found", message=f"there is no agent {name}"), {}


def _presence(agent: Agent) -> str:
    return "here" if agent.lost_since is None else "lost"
