"""The actual state: what the agents report, merged by the shepherd and followed by everybody else.

Unknown is not empty: until an agent has answered in this epoch its containers stay as last known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from scheduling.container import ContainerInstance, HostResources, Metrics
from scheduling.desired import Intent
from scheduling.lifecycle import Phase
from scheduling.members import MemberStatus
from scheduling.replica import Changes, Key, Replica, Update
from scheduling.roster import NurseryStatus

AGENT, CONTAINER, METRICS, NURSERY, MEMBER = "agent", "container", "metrics", "nursery", "member"
# What is no state and in no hurry; and all that is, for those who decide by it.
SAMPLES = frozenset({METRICS})
STATE = frozenset({AGENT, CONTAINER, NURSERY, MEMBER})


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The link to one agent. `answered`: its state has come in this epoch, so what is absent is gone.

    `since` is when `link` last changed, in seconds since 1970; `error` says why it is not connected. `life`
    is another one in each life of its state machine; commands name the one they are meant for.
    """

    name: str
    endpoint: str
    link: Literal["connecting", "connected", "stale"]
    answered: bool
    since: float
    error: str = ""
    resources: HostResources | None = None
    life: str = ""


class ContainerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One container as its state machine sees it.

    `goal` and `generation` echo the command being carried out ("" and 0 for a foreign one), so that a
    report of phase absent proves that the container is gone for that generation of its placement.
    `refusals`: how often in a row the agent has refused what the goal needs.
    """

    agent: str
    task: str
    phase: Phase
    goal: Intent | Literal[""] = ""
    generation: int = 0
    instance: ContainerInstance | None = None
    error: str = ""
    refusals: int = 0

    def proves_absence(self, generation: int) -> bool:
        """Whether the container is gone for this generation of its placement."""
        return self.phase is Phase.ABSENT and self.goal == "stop" and self.generation == generation


class ActualReplica(Replica):
    """A replica that keeps the containers of agents that have not answered since a new epoch began."""

    def __init__(self, kinds: frozenset[str] | None = None) -> None:
        super().__init__(kinds)
        self._kept: dict[str, set[Key]] = {}

    def keeps(self, key: Key, snapshot: Update) -> bool:
        """Whether a container that is absent from a snapshot stays: while its agent has not answered."""
        status = snapshot.changes.get((AGENT, key[1]))
        keep = key[0] != AGENT and status is not None and not status.answered
        if keep:
            self._kept.setdefault(key[1], set()).add(key)
        return keep

    def receive(self, update: Update) -> Changes | None:
        """As `Replica.receive`; once a kept agent answers, what it does not report is gone."""
        if update.snapshot:
            self._kept = {}
        changes = super().receive(update)
        if changes is None:
            return None
        for key in changes:
            self._kept.get(key[1], set()).discard(key)  # known again
        for name in [name for name in self._kept if self._settled(name)]:
            for key in self._kept.pop(name):
                if self.state.pop(key, None) is not None:
                    changes[key] = None
        return changes

    def _settled(self, name: str) -> bool:
        status = self.state.get((AGENT, name))
        return status is None or status.answered


class Actual:
    """The actual state as typed tables, with the indices that readers need."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentStatus] = {}
        self.containers: dict[str, dict[str, ContainerReport]] = {}
        self.metrics: dict[str, dict[str, Metrics]] = {}
        self.nurseries: dict[str, NurseryStatus] = {}
        self.members: dict[str, MemberStatus] = {}
        self.by_task: dict[str, set[str]] = {}
        self._tables: dict[str, dict[str, Any]] = {
            AGENT: self.agents,
            METRICS: self.metrics,
            NURSERY: self.nurseries,
            MEMBER: self.members,
        }

    def copy(self) -> Actual:
        """Another one in the same state, to try something on; metrics are left out."""
        other = Actual()
        other.agents = dict(self.agents)
        other.containers = {name: dict(reports) for name, reports in self.containers.items()}
        other.by_task = {task: set(agents) for task, agents in self.by_task.items()}
        return other

    def apply(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes, as a replica returns them."""
        for key, value in changes.items():
            if key[0] == CONTAINER:
                self._apply_container(key[1], key[2], value)
            else:
                table = self._tables[key[0]]
                if value is None:
                    table.pop(key[1], None)
                else:
                    table[key[1]] = value

    def report(self, agent: str, task: str) -> ContainerReport | None:
        """What is known of one container."""
        return self.containers.get(agent, {}).get(task)

    def answered(self, agent: str) -> bool:
        """Whether what this agent does not report is really absent there."""
        status = self.agents.get(agent)
        return status is not None and status.answered

    def _apply_container(self, agent: str, task: str, report: ContainerReport | None) -> None:
        if report is not None:
            self.containers.setdefault(agent, {})[task] = report
            self.by_task.setdefault(task, set()).add(agent)
            return
        of_agent = self.containers.get(agent, {})
        if of_agent.pop(task, None) is not None and not of_agent:
            del self.containers[agent]
        agents = self.by_task.get(task, set())
        agents.discard(agent)
        if not agents:
            self.by_task.pop(task, None)
