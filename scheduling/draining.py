"""What may be done to agents by their operator: added, removed, closed for new tasks, emptied.

Part of the registry's rule, see `scheduling.registry`. How an agent is emptied is `scheduling.moving`.
"""

from __future__ import annotations

import msgspec

from config.bounds import MOST_NAMED
from scheduling.answer import Answer
from scheduling.desired import AGENT, Agent, Desired, Drain
from scheduling.job import task_prefix
from scheduling.moving import never_moves
from scheduling.presence import not_as_seen
from scheduling.replica import Changes

# Who names an agent: an operator, and the agent itself.
API, REGISTERED = "api", "registered"


class AddAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An operator says that there is this agent; idempotent. `endpoint`: from `desired.parse_endpoint`."""

    name: str
    endpoint: str
    labels: dict[str, str] = {}
    expected: int | None = None


class RemoveAgent(msgspec.Struct, frozen=True, kw_only=True):
    """An operator takes out again what was added so. It leaves once it is empty, or lost."""

    name: str
    expected: int | None = None


class DrainAgent(msgspec.Struct, frozen=True, kw_only=True):
    """Give an agent no new tasks; with `empty` also move those it has, at the latest after `seconds`.

    None for `seconds`: however long it takes to keep each job's floor; 0: at once, whatever the floors say.
    """

    agent: str
    empty: bool = True
    seconds: float | None = None
    expected: int | None = None


class UndrainAgent(msgspec.Struct, frozen=True, kw_only=True):
    """Let an agent have tasks again; what was moved stays where it is."""

    agent: str
    expected: int | None = None


def add_agent(desired: Desired, mutation: AddAgent, version: int) -> tuple[Answer, Changes]:
    """One name, one agent, whoever else names it."""
    old = desired.agents.get(mutation.name)
    refused = not_as_seen(old, mutation.name, mutation.expected)
    if refused is not None:
        return refused, {}
    other = next(
        (
            agent.name
            for agent in desired.agents.values()
            if agent.endpoint == mutation.endpoint and agent.name != mutation.name
        ),
        None,
    )
    if other is not None:
        return Answer(result="conflict", message=f"{mutation.endpoint} is {other} already"), {}
    if old is not None and API not in old.sources and old.sources:
        text = f"{old.name} comes from {' and '.join(old.sources)}; change it there"
        return Answer(result="conflict", message=text), {}
    if old is not None and stays_put(desired, old, mutation.endpoint):
        left = len(desired.by_agent[old.name])
        text = (
            f"{old.name} has {left} tasks at {old.endpoint}; drain it first, or add {mutation.endpoint} "
            f"under another name"
        )
        return Answer(result="conflict", message=text), {}
    agent = msgspec.structs.replace(
        old or Agent(name=mutation.name, endpoint=mutation.endpoint),
        endpoint=mutation.endpoint,
        labels=mutation.labels,
        sources=(API,),
    )
    if agent == old:
        return Answer(result="unchanged", message=f"{agent.name} is {agent.endpoint} already"), {}
    text = f"{agent.name} is {agent.endpoint}"
    return Answer(result="changed" if old else "created", message=text), {
        (AGENT, agent.name): msgspec.structs.replace(agent, version=version)
    }


def stays_put(desired: Desired, agent: Agent, endpoint: str) -> bool:
    """Whether an agent may not be looked for at another address: its tasks run where it is.

    There they would be unknown, and be started once more. Those of a lost one run elsewhere already.
    """
    moves = agent.endpoint != endpoint
    return moves and agent.lost_since is None and bool(desired.by_agent.get(agent.name))


def remove_agent(desired: Desired, mutation: RemoveAgent, version: int) -> tuple[Answer, Changes]:
    """It leaves once it is empty; while it is lost, at once."""
    agent = desired.agents.get(mutation.name)
    if agent is None:
        return _no_agent(mutation.name)
    refused = not_as_seen(agent, mutation.name, mutation.expected)
    if refused is not None:
        return refused, {}
    others = [source for source in agent.sources if source not in (API, REGISTERED)]
    if REGISTERED in agent.sources and agent.lost_since is None:
        text = f"{agent.name} registers itself; end its agent, or start it without --register"
        return Answer(result="conflict", message=text), {}
    if others:
        text = f"{agent.name} comes from {' and '.join(others)}; take it out there"
        return Answer(result="conflict", message=text), {}
    if not agent.sources:
        return Answer(result="unchanged", message=f"{agent.name} is being removed already"), {}
    left = len(desired.by_agent.get(agent.name, ()))
    if not left:
        return Answer(result="changed", message=f"{agent.name} is removed"), {(AGENT, agent.name): None}
    text = f"{agent.name} leaves once it is empty; it has {left} tasks, which stay. Drain it to move them"
    return Answer(result="changed", message=text), {
        (AGENT, agent.name): msgspec.structs.replace(agent, sources=(), version=version)
    }


def drain_agent(desired: Desired, mutation: DrainAgent, version: int, now: float) -> tuple[Answer, Changes]:
    """Idempotent; a new deadline replaces the old one.

    It does not begin where it could keep a job's floor only by never ending, unless all is to go at once. A
    job that becomes like that later stays until the deadline, with the reason told.
    """
    agent = desired.agents.get(mutation.agent)
    if agent is None:
        return _no_agent(mutation.agent)
    refused = not_as_seen(agent, mutation.agent, mutation.expected)
    if refused is not None:
        return refused, {}
    drain = None
    if mutation.empty:
        at = now + mutation.seconds if mutation.seconds is not None else None
        drain = Drain(since=agent.drain.since if agent.drain else now, deadline_at=at)
    same_deadline = drain is None or (
        agent.drain is not None and mutation.seconds is None and agent.drain.deadline_at is None
    )
    if agent.drained and (agent.drain is None) == (drain is None) and same_deadline:
        word = "being drained" if agent.drain else "cordoned"
        return Answer(result="unchanged", message=f"{agent.name} is {word} already"), {}
    begins = drain is not None and agent.drain is None
    stuck = _stuck(desired, agent) if begins and mutation.seconds != 0 else ""
    if stuck:
        return Answer(result="conflict", message=stuck), {}
    left = len(desired.by_agent.get(agent.name, ()))
    text = f"{agent.name} gets no new tasks"
    if drain is None and agent.drain is not None:
        text += "; it is emptied no longer"
    if drain is not None:
        when = f", in {mutation.seconds:g} s at the latest" if mutation.seconds is not None else ""
        text += f"; its {left} tasks are moved{when}"
    return Answer(result="changed", message=text), {
        (AGENT, agent.name): msgspec.structs.replace(agent, drained=True, drain=drain, version=version)
    }


def _stuck(desired: Desired, agent: Agent) -> str:
    """Which jobs with tasks there could never move, and what would be right; empty if there is none."""
    tasks = (desired.placements[task] for task in desired.by_agent.get(agent.name, ()))
    prefixes = {task_prefix(row.task) for row in tasks if row.running == agent.name}
    jobs = (desired.jobs[prefix] for prefix in prefixes & desired.jobs.keys())
    found = sorted(why for job in jobs if (why := never_moves(job, desired)))
    if not found:
        return ""
    more = f"; and {len(found) - MOST_NAMED} more jobs" if len(found) > MOST_NAMED else ""
    return (
        f"{agent.name} can't be emptied with each job's floor kept: {'; '.join(found[:MOST_NAMED])}{more}. "
        f"Lower update.floor; or allow an update.surge, drain, and restart the job; or stop it; or drain "
        f"with a deadline of 0s, which moves all at once, whatever the floors"
    )


def undrain_agent(desired: Desired, mutation: UndrainAgent, version: int) -> tuple[Answer, Changes]:
    """Idempotent."""
    agent = desired.agents.get(mutation.agent)
    if agent is None:
        return _no_agent(mutation.agent)
    refused = not_as_seen(agent, mutation.agent, mutation.expected)
    if refused is not None:
        return refused, {}
    if not agent.drained and agent.drain is None:
        return Answer(result="unchanged", message=f"{agent.name} takes tasks already"), {}
    return Answer(result="changed", message=f"{agent.name} takes tasks again"), {
        (AGENT, agent.name): msgspec.structs.replace(agent, drained=False, drain=None, version=version)
    }


def _no_agent(name: str) -> tuple[Answer, Changes]:
    return Answer(result="not found", message=f"there is no agent {name}"), {}
