"""What must never happen, one function each; each returns a violation or None.

The sentence in quotes is that of the invariants in docs/architecture.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, AgentStatus
from scheduling.container import RUNNING
from scheduling.desired import AGENT, PLACEMENT, Agent, Placement
from scheduling.job import ContainerConfig, task_prefix
from scheduling.lifecycle import Input
from scheduling.packing import ActualReader, unpack_value
from scheduling.replica import Key, Replica
from scheduling.room import CPU_TOLERANCE, need_of
from simulation.facts import Facts, Violation

# A scheduler that decides by the operator's word may be so many versions behind.
GIVEN_UP_VERSIONS = 5


def starts_nowhere_else(facts: Facts, agent: str, task: str) -> Violation | None:
    """ "A task is never commanded to start on an agent while another agent's row for it is neither proven
    absent nor lost": judged where it counts, at an agent that carries out a start."""
    for name, other in facts.agents.items():
        container = other.containers.get(task)
        if name == agent or container is None:
            continue
        known = facts.disk.state.get((AGENT, name))
        # An agent that was removed before it had a placement is nobody's business any more.
        lost = not isinstance(known, Agent) or known.lost_since is not None
        # A copy from an old disk was proven absent before; a command given since can't be taken back.
        # One that a late request has made, and nobody will start, is removed.
        copy, asked = facts.copy(task, name), container.late_at is None
        unwanted = copy is None or (copy.intent == "stop" and not asked)
        idle = container.runs == 0 and container.status != RUNNING and unwanted
        # Of a job that was imported and gone before its agent was known nobody can know.
        unknowable = (task, name) in facts.unknowable or (task, name) in facts.once_abandoned
        # What was commanded while the other one was lost is carried out, though that one is back meanwhile.
        lost = lost or name in facts.lost_then.get((task, agent), ())
        if not lost and not container.revived and not idle and not unknowable:
            text = f"{task} is started on {agent} while {name} has a copy ({container.status or 'fetching'})"
            return Violation("runs once", text, (task, agent, name))
    return None


def healthy_is_not_stopped(facts: Facts, agent: str, task: str) -> Violation | None:
    """ "A task that is wanted and healthy is never stopped"."""
    container = facts.agents[agent].containers.get(task)
    copy = facts.copy(task, agent)
    wanted = facts.job_of(task) is not None and copy is not None and copy.intent == "run"
    if wanted and container is not None and container.status == RUNNING:
        return Violation("healthy is not stopped", f"{task} is stopped on {agent}", (task, agent))
    return None


def foreign_is_left_alone(facts: Facts, agent: str, step: Input, task: str) -> Violation | None:
    """ "Foreign: a container without a placement row; it is left alone"."""
    if (task, agent) in facts.placed:
        return None
    return Violation(
        "foreign is left alone", f"{step} for {task} on {agent}, which never had it", (task, agent)
    )


def runs_at_most_once(changes: Mapping[Key, Any]) -> Violation | None:
    """ "The placement row is the single intent": at most one copy with intent run, one copy an agent."""
    for key, row in changes.items():
        if key[0] == PLACEMENT and isinstance(row, Placement):
            running = [copy.agent for copy in row.copies if copy.intent == "run"]
            if len(running) > 1 or len({copy.agent for copy in row.copies}) != len(row.copies):
                return Violation("one copy runs", f"{row.task} has {row.copies}", (row.task, *running))
    return None


def leaves_only_when_absent(
    facts: Facts, before: Mapping[Key, Any], changes: Mapping[Key, Any]
) -> Violation | None:
    """ "Deleted only on proof that the container is absent": a copy is stopped first, and then gone."""
    for key, row in changes.items():
        old = before.get(key)
        if key[0] != PLACEMENT or not isinstance(old, Placement):
            continue
        left = {copy.agent for copy in row.copies} if row is not None else set()
        for copy in old.copies:
            if facts.disk.version - facts.given_up.get(copy.agent, -GIVEN_UP_VERSIONS) < GIVEN_UP_VERSIONS:
                continue  # its operator has taken it out of the list, and maybe changed his mind just now
            container = facts.agents[copy.agent].containers.get(old.task)
            there = container is not None and not container.revived and container.late_at is None
            if copy.agent not in left and (there or copy.intent == "run"):
                text = f"the placement of {old.task} on {copy.agent} ({copy.intent}) goes without proof"
                return Violation("placements go on proof", text, (old.task, copy.agent))
    return None


def agents_are_not_overfilled(
    facts: Facts, before: Mapping[Key, Any], changes: Mapping[Key, Any]
) -> Violation | None:
    """ "No agent is given more than it has": judged when a placement is written, except adoptions."""
    given: dict[str, set[str]] = {}
    for key, row in changes.items():
        if key[0] != PLACEMENT or not isinstance(row, Placement) or row.running is None:
            continue
        old = before.get(key)
        there = row.task in facts.agents[row.running].containers
        if not there and (old is None or old.running != row.running):
            given.setdefault(row.running, set()).add(row.task)
    for name in sorted(given):
        agent = facts.agents[name]
        taken = _taken(facts, name)
        needs = [need_of(config) for config in taken.values()]
        mem, cpu = sum(need.mem for need in needs), sum(need.cpu for need in needs)
        ports = [port for need in needs for port in need.ports]
        # Others may have come to clash by a copy that was found.
        clash = any(ports.count(port) > 1 for task in given[name] for port in need_of(taken[task]).ports)
        if mem > agent.mem or cpu > agent.cpu + CPU_TOLERANCE or clash:
            text = f"{name} has {agent.mem} MB, {agent.cpu} cores; given are {mem}, {cpu:.2f}, ports {ports}"
            return Violation("no agent is overfilled", text, (name,))
    return None


def _taken(facts: Facts, name: str) -> dict[str, ContainerConfig]:
    """What is on an agent or on its way there: our rows, and foreign containers that were always there."""
    taken: dict[str, ContainerConfig] = {
        container.task: container.config
        for container in facts.agents[name].containers.values()
        if not container.ours and not container.revived
    }
    for key, row in facts.disk.state.items():
        container = facts.agents[name].containers.get(key[1])
        if container is not None and container.revived:
            continue  # nobody could know that it would come back
        if container is None and (key[1], name) not in facts.meant:
            continue  # to be stopped, wherever it may be; here it is not
        if key[0] == PLACEMENT and any(copy.agent == name for copy in row.copies):
            taken[key[1]] = facts.configs[task_prefix(key[1])]
    return taken


@lru_cache(4096)
def _unpack(kind: str, data: bytes) -> Any:
    """The same report is compared again and again."""
    return unpack_value((kind,), data)


def replica_is_true(
    facts: Facts, who: str, replica: Replica, kinds: frozenset[str] | None
) -> Violation | None:
    """ "Stamped (epoch, version)": a replica that claims a version equals the state at it, but for what it
    keeps of agents that have not answered."""
    state = facts.versions.get(replica.epoch, {}).get(replica.version)
    if state is None:
        return None
    if kinds is not None:
        state = {key: value for key, value in state.items() if key[0] in kinds}
    if isinstance(replica, ActualReader):
        state = {
            key: _unpack(key[0], value) if isinstance(value, bytes) else value for key, value in state.items()
        }
    if state == replica.state:
        return None
    for key in {**state, **replica.state}:
        if state.get(key) == replica.state.get(key):
            continue
        status = replica.state.get((ACTUAL_AGENT, key[1]))
        kept = key not in state and isinstance(status, AgentStatus) and not status.answered
        if not kept:
            text = f"{who} has {replica.state.get(key)} for {key} at {replica.version}, not {state.get(key)}"
            return Violation("replicas are true", text, key[1:])
    return None


def unknown_is_not_empty(who: str, replica: Replica, before: Mapping[Key, Any]) -> Violation | None:
    """ "Unknown is not empty": what was known of an agent that has not answered stays."""
    for key in before:
        if key[0] != CONTAINER or key in replica.state:
            continue
        status = replica.state.get((ACTUAL_AGENT, key[1]))
        if isinstance(status, AgentStatus) and not status.answered:
            return Violation("unknown is not empty", f"{who} forgets {key[2]} on {key[1]}", key[1:])
    return None


def successor_commands_alone(newest: dict[str, int], agent: str, machine: int) -> Violation | None:
    """ "Two state machines for one agent": once a state machine has sent a request, none that was made before
    it sends any. `newest`: by agent, which one was the latest to begin; kept here."""
    if machine < newest.get(agent, 0):
        text = f"state machine {machine} of {agent} sends a request after its successor {newest[agent]} has"
        return Violation("a successor commands alone", text, (agent,))
    newest[agent] = machine
    return None


def answers_agree(contradictions: list[str]) -> Violation | None:
    """ "The same id gets the same answer"."""
    return Violation("one answer a request", contradictions[0]) if contradictions else None


def done_once(twice: list[str]) -> Violation | None:
    """ "The request id is stored with the change": no request is carried out twice."""
    return Violation("requests are done once", f"{twice[0]} was committed again") if twice else None
