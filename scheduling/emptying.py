"""Which tasks of agents that are drained move now: a few of each job at a time, so that its floor is kept.

A task runs once, so a move is a stop first and a start elsewhere after. What would find no place stays where
it is, until the drain's deadline: then everything goes. What has ended for good stays; it is no work to move.
"""

from __future__ import annotations

import msgspec

from scheduling.actual import Actual
from scheduling.desired import Agent, Copy, Desired, Job, Placement
from scheduling.failures import ended_for_good
from scheduling.job import task_id, task_index, task_prefix
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
        # By version: which of its tasks are down, and what is left of its budget of stops.
        self._down: dict[str, frozenset[int]] = {}
        self._budgets: dict[str, int] = {}
        # What is left of the rooms that were looked at.
        self._taken: dict[str, Room] = {}

    def moved(self, placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """The copies of a wanted task; stopped where its agent is drained and it may move now."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        agent = self._desired.agents.get(running) if running is not None else None
        job = self._desired.jobs.get(task_prefix(placement.task))
        if agent is None or agent.drain is None or agent.lost_since is not None or job is None:
            return copies
        if job.config.everywhere:
            return copies  # it has no other place, and goes when its agent does not fit any more
        if ended_for_good(self._actual.report(agent.name, placement.task)):
            return copies
        if not self._is_overdue(agent) and not self._may_move(job, task_index(placement.task)):
            return copies
        return tuple(Copy(copy.agent, "stop") for copy in copies)

    def _may_move(self, job: Job, index: int) -> bool:
        """Whether this task of a version may be stopped, and has somewhere to go; takes both if so.

        One that is down already may go at any time: nobody has less for it.
        """
        if self._desired.migration_of(job.prefix) is not None:
            return False  # its own steps keep the floor, and place nothing on a drained agent
        if job.prefix not in self._budgets:
            self._look_at(job)
        is_down = index in self._down[job.prefix]
        if (self._budgets[job.prefix] <= 0 and not is_down) or not self._takes_room(job):
            return False
        self._budgets[job.prefix] -= not is_down
        return True

    def _takes_room(self, job: Job) -> bool:
        """Whether there is room for one more task of this version; taken if so."""
        need = need_of_job(job)
        for room in self._rooms:
            scratch = self._taken.get(room.agent, room)
            if fits(need, scratch):
                if scratch is room:
                    scratch = self._taken[room.agent] = msgspec.structs.replace(
                        room, ports=dict(room.ports), prefixes=dict(room.prefixes)
                    )
                scratch.take(need)
                return True
        return False

    def _look_at(self, job: Job) -> None:
        """How many tasks of a version may be stopped now: what runs beyond its floor, a few at a time.

        What has ended for good is neither missed nor needed; what goes now in any case is missed.
        """
        wanted = tuple(self._desired.indices(job))
        stands = standing(
            job.prefix, wanted, self._desired, self._actual, Health(), min_healthy_seconds=0.0, now=self._now
        )
        ended = {index for index in wanted if self._has_ended(task_id(job.prefix, index))}
        going = {index for index in wanted if self._goes(task_id(job.prefix, index))}
        running = len((stands.running & set(wanted)) - going)
        missing = len(wanted) - running - len(ended)
        self._down[job.prefix] = stands.down - ended
        self._budgets[job.prefix] = min(
            running - max(0, moving_floor(job) - len(ended)), parallel(job) - missing
        )

    def _is_overdue(self, agent: Agent) -> bool:
        at = agent.drain.deadline_at if agent.drain is not None else None
        return at is not None and self._now >= at

    def _goes(self, task: str) -> bool:
        """Whether the time of the agent where it is meant to run is over."""
        row = self._desired.placements.get(task)
        agent = self._desired.agents.get(row.running) if row is not None and row.running else None
        return agent is not None and self._is_overdue(agent)

    def _has_ended(self, task: str) -> bool:
        row = self._desired.placements.get(task)
        agent = row.running if row is not None else None
        return agent is not None and ended_for_good(self._actual.report(agent, task))


def moving_floor(job: Job) -> int:
    """How many tasks of a version keep running while others move: its floor, else all but `max_parallel`."""
    update = job.config.update or Update()
    if update.floor is not None:
        return update.floor
    return max(0, len(job.members) - update.max_parallel)


def parallel(job: Job) -> int:
    """How many tasks of a version move at once."""
    return (job.config.update or Update()).max_parallel
