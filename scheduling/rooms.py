"""The rooms of all agents, as the scheduler's rule knows them, and which of them tasks get.

A room is measured once and taken from as tasks are placed; it is forgotten when anything there changes.
"""

from __future__ import annotations

from random import Random

from scheduling.actual import Actual
from scheduling.desired import Desired, Job, Placement
from scheduling.failures import Failures
from scheduling.job import task_index
from scheduling.placement import Algorithm, eligible, fits
from scheduling.room import Room, measure, need_of_job
from scheduling.spread import spread_over


class Rooms:
    """Measured from both states; `algorithm` chooses among them."""

    def __init__(self, desired: Desired, actual: Actual, algorithm: Algorithm, rng: Random) -> None:
        self._desired = desired
        self._actual = actual
        self._algorithm = algorithm
        self._rng = rng
        self._known: dict[str, Room] = {}

    def all(self) -> list[Room]:
        """The room of every agent."""
        for name, agent in self._desired.agents.items():
            if name not in self._known:
                self._known[name] = measure(agent, self._desired, self._actual)
        return [self._known[name] for name in self._desired.agents]

    def open(self) -> list[Room]:
        """Those where something new may be placed."""
        return [room for room in self.all() if not room.closed]

    def forget(self, agent: str) -> None:
        """Something has changed there."""
        self._known.pop(agent, None)

    def forget_those_of(self, placement: Placement | None) -> None:
        """A placement has changed, or what it takes."""
        for copy in placement.copies if placement else ():
            self.forget(copy.agent)

    def in_reach(self, job: Job, tasks: list[str]) -> list[Room]:
        """The rooms that these tasks of a version might go to."""
        return self.all() if job.places is None else [room for _, room in self._own(job, tasks)]

    def choose(self, job: Job, tasks: list[str], failures: Failures) -> dict[str, Room]:
        """Rooms for as many of the tasks as fit: where it is meant to go; elsewhere than where it failed."""
        if job.places is not None:
            return self._choose_own(job, tasks)
        need, rooms = eligible(need_of_job(job), self.open())
        placed: dict[str, Room] = {}
        plain = []
        for task in tasks:
            failure = failures.of(task)
            planned = self._meant_for(job, task) if failure is None else None
            room = self._known.get(planned) if planned is not None else None
            if room is not None and fits(need, room):
                room.take(need)
                placed[task] = room
                continue
            others = [room for room in rooms if room.agent != failure.agent] if failure is not None else []
            chosen = self._algorithm(need, 1, others, self._rng) if others else []
            if chosen:
                placed[task] = chosen[0]
            else:
                plain.append(task)
        algorithm = spread_over(job.config.spread, self._algorithm) if job.config.spread else self._algorithm
        placed.update(zip(plain, algorithm(need, len(plain), rooms, self._rng), strict=False))
        return placed

    def _meant_for(self, job: Job, task: str) -> str | None:
        """Where a rebalance wants a task, or else the plan that was approved."""
        moves = self._desired.under_way
        target = moves.target_of(task) if moves is not None else None
        return target or job.planned.get(str(task_index(task)))

    def _choose_own(self, job: Job, tasks: list[str]) -> dict[str, Room]:
        """The rooms of tasks that have each its own agent, where they fit."""
        need, placed = need_of_job(job), {}
        for task, room in self._own(job, tasks):
            if fits(need, room):
                room.take(need)
                placed[task] = room
        return placed

    def _own(self, job: Job, tasks: list[str]) -> list[tuple[str, Room]]:
        """Each of these tasks of a version with scale `all`, with the room of its agent."""
        places, rooms = job.places or {}, {room.agent: room for room in self.all()}
        named = [(task, places.get(task_index(task), "")) for task in tasks]
        return [(task, rooms[name]) for task, name in named if name in rooms]
