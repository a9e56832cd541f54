"""Agents that announce themselves: what the registry makes of it, and who has not renewed it for long.

Part of the registry's rule, see `scheduling.registry`. A registration is written once; that it is renewed is
not state, so Discovery keeps it in memory (`Renewals`), and a new one gives everybody the full time again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from config.bounds import MOST_AGENTS, REGISTRATION_SECONDS
from scheduling.answer import Answer
from scheduling.desired import AGENT, Agent, Desired
from scheduling.draining import REGISTERED, stays_put
from scheduling.replica import Changes


class RegisterAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent says that it is there; idempotent. `endpoint`: from `desired.parse_endpoint`.

    `identity`: of its data directory; the same one may come to another address, with its tasks.
    """

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    identity: str = ""


class DeregisterAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An agent ends, or has not renewed its registration for long: it leaves if it has no tasks.

    `identity`: only if it is this one's registration; "" for whoever's it is.
    """

    name: str
    identity: str = ""


def is_registered(desired: Desired, mutation: RegisterAgent) -> bool:
    """Whether the registry has all that an agent says already: then it is only renewed."""
    agent = desired.agents.get(mutation.name)
    return agent is not None and _registered(agent, mutation) == agent


def register_agent(desired: Desired, mutation: RegisterAgent, version: int) -> tuple[Answer, Changes]:
    """One name, one agent. What an operator says of it, by flags, a file or the API, counts more."""
    old = desired.agents.get(mutation.name)
    refused = _refusal(desired, old, mutation)
    if refused:
        return Answer(result="conflict", message=refused), {}
    agent = _registered(old or Agent(name=mutation.name, endpoint=mutation.endpoint), mutation)
    if agent == old:
        return Answer(result="unchanged", message=f"{agent.name} is registered already"), {}
    text = f"{agent.name} is registered at {agent.endpoint}"
    return Answer(result="changed" if old else "created", message=text), {
        (AGENT, agent.name): msgspec.structs.replace(agent, version=version)
    }


def deregister_agent(desired: Desired, mutation: DeregisterAgent, version: int) -> tuple[Answer, Changes]:
    """With tasks it stays known: it may be back soon, and else it is lost as any other."""
    agent = desired.agents.get(mutation.name)
    if agent is None or REGISTERED not in agent.sources:
        return Answer(result="unchanged", message=f"{mutation.name} is not registered"), {}
    if mutation.identity not in ("", agent.identity):
        text = f"{agent.name} was registered by another agent meanwhile"
        return Answer(result="conflict", message=text), {}
    tasks = len(desired.by_agent.get(agent.name, ()))
    left = tuple(source for source in agent.sources if source != REGISTERED)
    if tasks and not left:
        return Answer(result="unchanged", message=f"{agent.name} has {tasks} tasks, and stays known"), {}
    changed = msgspec.structs.replace(agent, sources=left, identity="", version=version)
    return Answer(result="changed", message=f"{agent.name} is registered no longer"), {
        (AGENT, agent.name): changed if left else None
    }


def _registered(agent: Agent, mutation: RegisterAgent) -> Agent:
    """The agent with what it says itself; its labels only where nobody else names it."""
    others = [source for source in agent.sources if source != REGISTERED]
    return msgspec.structs.replace(
        agent,
        endpoint=mutation.endpoint,
        labels=agent.labels if others else mutation.labels,
        sources=tuple(sorted([*others, REGISTERED])),
        identity=mutation.identity,
    )


def _refusal(desired: Desired, old: Agent | None, mutation: RegisterAgent) -> str:
    """Why this can't be, and what would be right; empty if it can."""
    owner = next(
        (
            agent.name
            for agent in desired.agents.values()
            if agent.endpoint == mutation.endpoint and agent.name != mutation.name
        ),
        None,
    )
    if owner is not None:
        return f"{mutation.endpoint} is {owner} already; start the agent with --name {owner}"
    if old is None:
        full = len(desired.agents) >= MOST_AGENTS
        return f"there are {MOST_AGENTS} agents, as many as there may be; remove some" if full else ""
    others = [source for source in old.sources if source != REGISTERED]
    if old.endpoint != mutation.endpoint and others:
        return f"{old.name} comes from {' and '.join(others)} as {old.endpoint}; change it there"
    is_it = bool(mutation.identity) and mutation.identity == old.identity
    if not is_it and stays_put(desired, old, mutation.endpoint):
        tasks = len(desired.by_agent[old.name])
        return (
            f"{old.name} has {tasks} tasks at {old.endpoint}, and this is another agent; start it with "
            f"another --name, or drain {old.name} first"
        )
    return ""


class Renewals:
    """When each registered agent was heard of last. Times are monotonic seconds, given."""

    def __init__(self) -> None:
        self._at: dict[str, float] = {}

    def renew(self, agents: Iterable[str], now: float) -> None:
        """These have just renewed their registrations."""
        self._at.update(dict.fromkeys(agents, now))

    def overdue(self, registered: Iterable[str], now: float) -> list[str]:
        """Which of all registered agents have not renewed it for too long; each is told again only after that
        time again."""
        known = {name: self._at.get(name, now) for name in registered}
        late = sorted(name for name, at in known.items() if now - at >= REGISTRATION_SECONDS)
        self._at = known | dict.fromkeys(late, now)
        return late
