"""A fleet for tests of the rules together: the registry's, the scheduler's, and agents that obey at once."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
from rules_made import agent, instance, job_config, resources, status

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, ContainerReport
from scheduling.answer import Answer
from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Job, Placement
from scheduling.job import JobConfig, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.placement import least_used
from scheduling.registry import Mutation, judge
from scheduling.replica import Changes
from scheduling.scheduler import Scheduler
from scheduling.waiting import Staying

MOST_ROUNDS = 200


class Fleet:
    """Agents of 1,000 MB and 8 cores by name; `seconds` pass in each round."""

    def __init__(self, *names: str, mem: int = 1000, seconds: float = 1.0) -> None:
        self.scheduler = Scheduler(least_used, Random(7))
        self.desired, self.actual = self.scheduler.desired, self.scheduler.actual
        self.version, self.now, self.seconds = 0, 1000.0, seconds
        # What runs, each round; and what was stopped, in order.
        self.seen: list[dict[str, str]] = []
        self.stopped: list[str] = []
        for name in names:
            self.joins(name, mem=mem)

    def joins(self, name: str, mem: int = 1000, **more: Any) -> None:
        """An agent comes, and answers."""
        self.change({(AGENT, name): agent(name, **more)})
        self.says(name, has=resources(mem=mem, cpu=8.0))

    def says(self, name: str, **more: Any) -> None:
        """The link to an agent, or what it has, is another."""
        more = {"has": resources(mem=1000, cpu=8.0), **more}
        self.scheduler.actual_changed({(ACTUAL_AGENT, name): status(name, **more)})

    def becomes(self, name: str, **more: Any) -> None:
        """The registry's row of an agent is another."""
        self.change({(AGENT, name): msgspec.structs.replace(self.desired.agents[name], **more)})

    def ask(self, mutation: Mutation) -> Answer:
        """Judged, and written if it is accepted."""
        answer, changes = judge(self.desired, mutation, self.version + 1, now=self.now)
        if changes:
            self.change(changes)
        return answer

    def change(self, changes: Changes) -> None:
        """Written, and obeyed by the agents that are heard."""
        self.version += 1
        obeyed: Changes = {}
        for key, value in changes.items():
            if key[0] == PLACEMENT:
                before = self.desired.placements.get(key[1])
                gone = {copy.agent for copy in before.copies} if before is not None else set()
                obeyed |= {(CONTAINER, name, key[1]): None for name in gone}
                for copy in value.copies if value is not None else ():
                    obeyed[CONTAINER, copy.agent, key[1]] = self._obeyed(value, copy)
        self.scheduler.desired_changed(changes)
        self.scheduler.actual_changed(obeyed)

    def new_scheduler(self) -> None:
        """The scheduler ended; another one knows what the registry and the agents tell it."""
        desired, actual = self.desired.copy(), self.actual.copy()
        self.scheduler = Scheduler(least_used, Random(8), desired=desired, actual=actual)
        self.desired, self.actual = desired, actual

    def settle(self, rounds: int = MOST_ROUNDS) -> dict[str, Staying | None]:
        """Round after round until three of them write nothing; what was said of drains meanwhile, at last."""
        calm, told = 0, {}
        for _ in range(rounds):
            self.now += self.seconds
            self.scheduler.wake(self.now)
            decisions = self.scheduler.decide(self.now)
            told.update(decisions.staying)
            for write in decisions.writes:
                self.ask(write)
            self.seen.append(self.runs())
            calm = 0 if decisions.writes else calm + 1
            if calm == 3:
                return told
        assert rounds < MOST_ROUNDS, "it comes to no end"
        return told

    def runs(self, prefix: str = "") -> dict[str, str]:
        """Which tasks run, and where."""
        return {
            task: name
            for name, reports in self.actual.containers.items()
            for task, report in reports.items()
            if report.phase is Phase.RUNNING and task_prefix(task).startswith(prefix)
        }

    def job(self, config: JobConfig) -> Job:
        """The newest version of a job."""
        return self.desired.versions(config.key)[-1]

    def schedule(self, job: Job) -> None:
        """A job as it is, without being judged."""
        self.change({(JOB, job.prefix): job})

    def _obeyed(self, row: Placement, copy: Copy) -> ContainerReport | None:
        if not is_connected(self.actual, copy.agent):
            return self.actual.report(copy.agent, row.task)
        job = self.desired.jobs.get(task_prefix(row.task))
        config = job.config.container() if job is not None else job_config().container()
        runs = copy.intent == "run"
        if not runs:
            self.stopped.append(row.task)
        return ContainerReport(
            agent=copy.agent,
            task=row.task,
            phase=Phase.RUNNING if runs else Phase.ABSENT,
            goal=copy.intent,
            generation=row.generation,
            instance=instance(row.task, config=config) if runs else None,
        )
