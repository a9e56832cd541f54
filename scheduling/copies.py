"""What is known of the copies of a task: which are gone, which stay, which are there without a placement.

Questions about the desired and the actual state together; the scheduler's rule makes writes of the answers.
"""

from __future__ import annotations

from collections.abc import Iterable

from scheduling.actual import Actual, ContainerReport
from scheduling.desired import Copy, Desired, Job, Placement
from scheduling.job import task_id, task_index, task_prefix
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected


class Copies:
    """Reads both states; keeps nothing."""

    def __init__(self, desired: Desired, actual: Actual) -> None:
        self.desired = desired
        self.actual = actual

    def is_gone(self, placement: Placement, copy: Copy) -> bool:
        """Whether a copy can leave: proven absent, or on a lost agent that was removed by its operator."""
        agent = self.desired.agents.get(copy.agent)
        given_up = agent is None or (agent.lost_since is not None and not agent.sources)
        return given_up or self.proven_absent(placement, copy)

    def proven_absent(self, placement: Placement, copy: Copy) -> bool:
        """A copy to be stopped is gone when its state machine says so for this very generation."""
        report = self.actual.report(copy.agent, placement.task)
        return (
            copy.intent == "stop"
            and report is not None
            and report.proves_absence(placement.generation)
            and self.actual.answered(copy.agent)
        )

    def back_to_returned(self, placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """A lost agent is back and its copy runs, while the replacement does not yet: it stays after all."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        if running is None or self._runs(running, placement.task):
            return copies
        back = [
            copy.agent
            for copy in copies
            if copy.intent == "stop"
            and (agent := self.desired.agents.get(copy.agent)) is not None
            and agent.lost_since is not None
            and is_connected(self.actual, copy.agent)
            and self._runs(copy.agent, placement.task)
        ]
        if not back:
            return copies
        return tuple(Copy(copy.agent, "run" if copy.agent == back[0] else "stop") for copy in copies)

    def strays(self, placement: Placement) -> tuple[Copy, ...]:
        """Copies of a placed task where it has no placement (an old disk, a late answer): to be stopped."""
        placed = {copy.agent for copy in placement.copies}
        return tuple(
            Copy(name, "stop")
            for name in sorted(self.actual.by_task.get(placement.task, ()))
            if name not in placed and name in self.desired.agents and self._is_there(name, placement.task)
        )

    def adoptable(self, task: str) -> tuple[Copy, ...]:
        """Copies of a wanted task that are there without a placement: one is kept, others are stopped."""
        there = [
            report
            for name in sorted(self.actual.by_task.get(task, ()))
            if name in self.desired.agents
            and self._is_there(name, task)
            and (report := self.actual.report(name, task)) is not None
            and report.goal != "stop"  # it is on its way out, and may be gone before this is written
            and (
                report.goal or report.instance is not None or report.phase is not Phase.UNCLEAR
            )  # it is gone
        ]
        best = min(there, key=_worth, default=None)
        return tuple(Copy(report.agent, "run" if report is best else "stop") for report in there)

    def in_place(self, task: str, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """The copies of a task; of one with an agent of its own those elsewhere are stopped."""
        job = self.desired.jobs.get(task_prefix(task))
        own = job.places.get(task_index(task)) if job is not None and job.places is not None else None
        if own is None:
            return copies
        return tuple(copy if copy.agent == own else Copy(copy.agent, "stop") for copy in copies)

    def unknown_holders(self, job: Job) -> list[str]:
        """Agents that have not answered and might hold a task of this job: nothing is placed meanwhile."""
        suspects: Iterable[str] = self.desired.agents
        if not job.adopt:
            suspects = {
                copy.agent
                for index in job.members
                if (placement := self.desired.placements.get(task_id(job.prefix, index))) is not None
                for copy in placement.copies
            }
        return sorted(name for name in suspects if self._might_hold(name))

    def _might_hold(self, name: str) -> bool:
        agent = self.desired.agents.get(name)
        return agent is not None and agent.lost_since is None and not self.actual.answered(name)

    def _runs(self, agent: str, task: str) -> bool:
        report = self.actual.report(agent, task)
        return report is not None and report.phase is Phase.RUNNING

    def _is_there(self, agent: str, task: str) -> bool:
        report = self.actual.report(agent, task)
        return report is not None and report.phase not in (Phase.ABSENT, Phase.DELETING)


def _worth(report: ContainerReport) -> tuple[int, str]:
    """Which of several copies to keep: the one that runs, then the one nearest to it."""
    order = (Phase.RUNNING, Phase.STARTING, Phase.CREATED, Phase.CREATING)
    rank = order.index(report.phase) if report.phase in order else len(order)
    return rank, report.agent
