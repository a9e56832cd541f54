"""An in-memory cluster that works: the scheduler's own rule decides, and the agents obey at once.

For tests of what takes several steps, like a migration, and for trying clients out.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from scheduling.actual import CONTAINER, ContainerReport
from scheduling.container import (
    FINISHED,
    RUNNING,
    Amount,
    ContainerInstance,
    Cores,
    ExitStatus,
    HostResources,
    ProcessState,
)
from scheduling.desired import Copy, Placement
from scheduling.job import ContainerConfig, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.placement import ALGORITHMS
from scheduling.registry import AgentSpec
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler
from scheduling.waiting import LEFT_OUT, STAYING, WAITING
from web.cluster import Topic
from web.memory import InMemoryCluster

EXIT_STATUS = 3
WROTE = ["starting", "no such table: people"]
HOST = HostResources(mem=Amount(total=4096), cpus=Cores(total=16.0))


class ObedientCluster(InMemoryCluster):
    """Call `turn` for each round. `fails`: whether the tasks of a config end at once, with EXIT_STATUS."""

    def __init__(
        self,
        *agents: str,
        clock: Callable[[], float],
        fails: Callable[[ContainerConfig], bool] = lambda _: False,
        host: HostResources = HOST,
    ) -> None:
        super().__init__(clock=clock)
        self._fails = fails
        # The same lots each time, so that a test is the same each time.
        self._rule = Scheduler(ALGORITHMS["least_used"], Random(0))  # noqa: S311  # placement, not secrets
        self.add_agents(*(AgentSpec(name=name, endpoint=f"http://{name}.test:3333") for name in agents))
        for name in agents:
            self.connect(name, host)

    def turn(self) -> bool:
        """One round of the rule, and what agents make of it; says whether anything was written."""
        now = self.clock()
        self._rule.wake(now)
        decisions = self._rule.decide(now)
        if decisions.waiting:
            self._publish("waiting", {(WAITING, prefix): why for prefix, why in decisions.waiting.items()})
        if decisions.staying:
            self._publish("waiting", {(STAYING, agent): why for agent, why in decisions.staying.items()})
        if decisions.left_out:
            self._publish("waiting", {(LEFT_OUT, prefix): why for prefix, why in decisions.left_out.items()})
        self._rule.refused([write for write in decisions.writes if not self.judge(write).accepted])
        self._obey()
        return bool(decisions.writes)

    def _apply(self, topic: Topic, changes: Changes, version: int) -> None:
        super()._apply(topic, changes, version)
        if topic == "desired":
            self._rule.desired_changed(changes)
        elif topic == "actual":
            self._rule.actual_changed(changes)

    def _obey(self) -> None:
        """Every agent that is heard does what its placements say, and forgets what has none."""
        actual, desired = self.state.actual, self.state.desired
        reports: Changes = {}
        for name, containers in actual.containers.items():
            for task in containers:
                row = desired.placements.get(task)
                if row is None or name not in {copy.agent for copy in row.copies}:
                    reports[CONTAINER, name, task] = None
        for row in desired.placements.values():
            for copy in row.copies:
                report = self._report(row, copy)
                if is_connected(actual, copy.agent) and report != actual.report(copy.agent, row.task):
                    reports[CONTAINER, copy.agent, row.task] = report
        if reports:
            self._publish("actual", reports)

    def _report(self, row: Placement, copy: Copy) -> ContainerReport:
        job = self.state.desired.jobs.get(task_prefix(row.task))
        there = copy.intent == "run" and job is not None
        ends = job is not None and self._fails(job.config)
        return ContainerReport(
            agent=copy.agent,
            task=row.task,
            phase=(Phase.ENDED if ends else Phase.RUNNING) if there else Phase.ABSENT,
            goal=copy.intent,
            generation=row.generation,
            instance=_instance(row.task, job.config.container(), ends=ends)
            if there and job is not None
            else None,
        )


def _instance(task: str, config: ContainerConfig, *, ends: bool) -> ContainerInstance:
    if not ends:
        up = ProcessState(up=True)
        return ContainerInstance(container_id=task, status=RUNNING, config=config, process_state=up)
    ended = ProcessState(container_exit_status=ExitStatus(exited=True, exit_status=EXIT_STATUS))
    return ContainerInstance(
        container_id=task, status=FINISHED, config=config, process_state=ended, last_lines=WROTE
    )
