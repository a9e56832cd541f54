"""A whole cluster in memory, behind the same seam as the real one: for tests, and for trying clients out.

Mutations are judged by the registry's own rule; what agents would report is reported by calling methods.
Failures are switched on by attributes.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from scheduling.actual import AGENT, CONTAINER, MEMBER, METRICS, NURSERY, AgentStatus, ContainerReport
from scheduling.answer import Answer
from scheduling.container import CREATED, RUNNING, ContainerInstance, HostResources, Metrics, ProcessState
from scheduling.desired import Copy, Intent
from scheduling.job import task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import Brake
from scheduling.members import MemberStatus
from scheduling.registry import (
    AgentSpec,
    Mutation,
    SyncAgents,
    WritePlacement,
    fingerprint,
    judge,
    reused,
    version_after,
)
from scheduling.replica import Changes
from scheduling.roster import ACTOR, ActorStatus, NurseryStatus
from scheduling.waiting import BRAKE_KEY, WAITING, Waiting
from web import limits
from web.cluster import ClusterState, OutcomeUnknownError, Topic, UnavailableError

SOURCE = "memory"
_PHASES = {CREATED: Phase.CREATED, RUNNING: Phase.RUNNING}


class InMemoryCluster:
    """A `web.cluster.Cluster` without actors.

    `available` False: writes fail, and nothing happens. `answering` False: writes happen, but their
    answers are lost. `hang`: writes wait until `resume`, or until they are out of time. `clock`: seconds
    since 1970.
    """

    def __init__(
        self, epoch: str = "memory", now: float = 0.0, clock: Callable[[], float] = time.time
    ) -> None:
        self.state = ClusterState()
        self.now = now
        self.clock = clock
        self.available = True
        self.answering = True
        # Who has renewed a registration, in order.
        self.renewed: list[str] = []
        self._going: asyncio.Event | None = None
        self._epoch = epoch
        self._answers: OrderedDict[str, tuple[str, Answer]] = OrderedDict()
        for topic in self.state.stamps:
            self.state.apply(topic, {}, epoch, 0)
        self.state.set_connected(True, now)

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """As `Cluster.submit`."""
        if not self.available:
            raise UnavailableError("the registry is switched off")
        if self._going is not None:
            with self.state.writing():
                await self._wait(self._going)
        answer = self.judge(mutation, request_id)
        if not self.answering:
            raise OutcomeUnknownError("the answer is lost")
        return answer

    def renew(self, agent: str) -> None:
        """As `Cluster.renew`."""
        self.renewed.append(agent)

    def hang(self) -> None:
        """From now on the registry answers nobody."""
        self._going = asyncio.Event()

    def resume(self) -> None:
        """It answers again, also those that wait."""
        if self._going is not None:
            self._going.set()
        self._going = None

    async def _wait(self, going: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(limits.WRITE_ANSWER_SECONDS):
                await going.wait()
        except TimeoutError:
            raise OutcomeUnknownError("the registry has not answered") from None

    def judge(self, mutation: Mutation, request_id: str = "") -> Answer:
        """Have a mutation judged and taken in; a known request id only gets its answer again."""
        asked = fingerprint(mutation)
        if request_id in self._answers:
            before, answer = self._answers[request_id]
            return answer if before == asked else reused(request_id)
        at = self.state.version
        version = version_after(at, (mutation,))
        answer, changes = judge(self.state.desired, mutation, version, at, self.clock())
        if changes:
            self._apply("desired", changes, version)
        if request_id:
            self._answers[request_id] = (asked, answer)
            if len(self._answers) > limits.REQUEST_IDS_KEPT:
                self._answers.popitem(last=False)
        return answer

    def add_agents(self, *specs: AgentSpec) -> None:
        """Make these agents known, beside those that are."""
        known = [
            AgentSpec(name=agent.name, endpoint=agent.endpoint, labels=agent.labels)
            for agent in self.state.desired.agents.values()
            if agent.name not in {spec.name for spec in specs}
        ]
        self.judge(SyncAgents(source=SOURCE, agents=(*known, *specs)))

    def remove_agents(self) -> None:
        """No source knows any agent any more; each goes once it has no placement."""
        self.judge(SyncAgents(source=SOURCE, agents=()))

    def place(self, task: str, agent: str, intent: Intent = "run") -> Answer:
        """Write a task's only copy."""
        return self.write_copies(task, Copy(agent, intent))

    def write_copies(self, task: str, *copies: Copy) -> Answer:
        """Replace a task's copies."""
        old = self.state.desired.placements.get(task)
        expected = old.generation if old else 0
        return self.judge(WritePlacement(task=task, expected=expected, copies=copies))

    def report_agent(self, status: AgentStatus) -> None:
        """Say how the link to an agent is."""
        self._publish("actual", {(AGENT, status.name): status})

    def connect(self, name: str, resources: HostResources | None = None) -> None:
        """Report a known agent as connected."""
        endpoint = self.state.desired.agents[name].endpoint
        self.report_agent(
            AgentStatus(
                name=name,
                endpoint=endpoint,
                link="connected",
                answered=True,
                since=self.now,
                resources=resources or HostResources(),
            )
        )

    def report_container(self, report: ContainerReport) -> None:
        """Say what an agent reports of a container."""
        self._publish("actual", {(CONTAINER, report.agent, report.task): report})

    def run(
        self, task: str, agent: str, status: str = RUNNING, process_state: ProcessState | None = None
    ) -> None:
        """Report the container of a task, with the config of its job if there is one."""
        job = self.state.desired.jobs.get(task_prefix(task))
        instance = ContainerInstance(
            container_id=task,
            status=status,
            process_state=process_state or ProcessState(up=status == RUNNING),
        )
        if job is not None:
            instance = msgspec.structs.replace(instance, config=job.config.container())
        phase = _PHASES.get(status, Phase.ENDED)
        self.report_container(ContainerReport(agent=agent, task=task, phase=phase, instance=instance))

    def remove_container(self, agent: str, task: str) -> None:
        """Say that a container is gone."""
        self._publish("actual", {(CONTAINER, agent, task): None})

    def report_metrics(self, agent: str, samples: dict[str, Metrics]) -> None:
        """Report an agent's samples, by task."""
        self._publish("actual", {(METRICS, agent): samples})

    def report_waiting(self, waiting: Waiting | None, prefix: str = "") -> None:
        """Say why the tasks of a job version wait; None for `prefix`: they do not."""
        self._publish("waiting", {(WAITING, waiting.prefix if waiting else prefix): waiting})

    def report_brake(self, brake: Brake | None) -> None:
        """Say whether the brake holds."""
        self._publish("waiting", {BRAKE_KEY: brake})

    def report_nursery(self, owner: str, status: NurseryStatus) -> None:
        """Say how an actor's children are doing."""
        self._publish("actual", {(NURSERY, owner): status})

    def report_member(self, status: MemberStatus) -> None:
        """Say how a host of the convention is."""
        self._publish("actual", {(MEMBER, status.address): status})

    def report_actor(self, status: ActorStatus) -> None:
        """Say how an actor is."""
        self._publish("roster", {(ACTOR, status.name): status})

    def _publish(self, topic: Topic, changes: Changes) -> None:
        self._apply(topic, changes, self.state.stamps[topic].version + 1)

    def _apply(self, topic: Topic, changes: Changes, version: int) -> None:
        """The one way in which the state changes."""
        self.state.apply(topic, changes, self._epoch, version)
