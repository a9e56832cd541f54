"""Which tasks of agents that are drained move now: a few of each job at a time, so that its floor is kept.

A task runs once, so a move is a stop first and a start elsewhere after. What would find no place stays where
it is, until the drain's deadline: then everything goes. What has ended for good stays; it is no work to move.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import Actual
from scheduling.desired import Copy, Desired, Job, Placement
from scheduling.job import task_prefix
from scheduling.lifecycle import Phase
from scheduling.placement import fits
from scheduling.room import Room, need_of_job
from scheduling.standing import Health, standing
from scheduling.update import Update


class Emptying:
    """One round's moves. Make a new one for each round; `rooms` are those that are open now."""

    def __init__(self, desired: Desired, actual: Actual, rooms: list[Room], now: float) -> None:
        self._desired = desired
        self._actual = actual
        self._rooms = rooms
        self._now = now
        # What is left of each version's budget of stops, and of the rooms that were looked at.
        self._budgets: dict[str, int] = {}
        self._taken: dict[str, Room] = {}

    def moved(self, placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """The copies of a wanted task; stopped where its agent is drained and it may move now."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        agent = self._desired.agents.get(running) if running is not None else None
        job = self._desired.jobs.get(task_prefix(placement.task))
        if agent is None or agent.drain is None or agent.lost_since is not None or job is None:
            return copies
        report = self._actual.report(agent.name, placement.task)
        if report is not None and report.phase is Phase.ENDED:
            return copies
        deadline_at = agent.drain.deadline_at
        overdue = deadline_at is not None and self._now >= deadline_at
        if not overdue and not self._may_move(job):
            return copies
        return tuple(Copy(copy.agent, "stop") for copy in copies)

    def _may_move(self, job: Job) -> bool:
        """Whether a task of this version may be stopped, and has somewhere to go; takes both if so."""
        if self._desired.migration_of(job.prefix) is not None:
            return False  # its own steps keep the floor, and place nothing on a drained agent
        if job.prefix not in self._budgets:
            self._budgets[job.prefix] = self._budget(job)
        if self._budgets[job.prefix] <= 0:
            return False
        need = need_of_job(job)
        for room in self._rooms:
            scratch = self._taken.get(room.agent, room)
            if fits(need, scratch):
                if scratch is room:
                    scratch = self._taken[room.agent] = msgspec.structs.replace(
                        room, ports=dict(room.ports), prefixes=dict(room.prefixes)
                    )
                scratch.take(need)
                self._budgets[job.prefix] -= 1
                return True
        return False

    def _budget(self, job: Job) -> int:
        """How many tasks of a version may be stopped now: what runs beyond its floor, a few at a time."""
        wanted = tuple(self._desired.indices(job))
        stands = standing(
            job.prefix, wanted, self._desired, self._actual, Health(), min_healthy_seconds=0.0, now=self._now
        )
        running = len(stands.running & set(wanted))
        return min(running - moving_floor(job), parallel(job) - (len(wanted) - running))


def moving_floor(job: Job) -> int:
    """How many tasks of a version keep running while others move: its floor, else all but `max_parallel`."""
    update = job.config.update or Update()
    if update.floor is not None:
        return update.floor
    return max(0, job.config.scale - update.max_parallel)


def parallel(job: Job) -> int:
    """How many tasks of a version move at once."""
    return (job.config.update or Update()).max_parallel
