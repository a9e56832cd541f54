"""Which tasks move now, from an agent that is drained or by a rebalance: a few of each job at a time, so that
its floor is kept.

A task runs once, so a move is a stop first and a start elsewhere after. What would find no place stays where
it is; at the deadline of a drain everything goes. What has ended for good stays; it is no work to move.
"""

from __future__ import annotations

import msgspec

from config.bounds import MOST_REFUSALS_SHOWN
from scheduling.actual import Actual
from scheduling.desired import Agent, Copy, Desired, Job, Placement
from scheduling.failures import ended_for_good
from scheduling.job import task_id, task_index, task_prefix
from scheduling.placement import explain, fits
from scheduling.room import Room, need_of_job
from scheduling.standing import Health, standing
from scheduling.update import Update, surge_of
from scheduling.waiting import Staying


class _Budget(msgspec.Struct):
    """How many tasks of a version may still be stopped, why no more, and which of them are down already.

    `no_room`: why none fits anywhere, once that was found.
    """

    stops: int
    limit: str
    down: frozenset[int]
    no_room: str = ""


class Moving:
    """One round's moves. Make a new one for each round; `rooms` are those of all agents.

    `staying`: by agent that is drained, why which of its tasks do not move now.
    """

    def __init__(self, desired: Desired, actual: Actual, rooms: list[Room], now: float) -> None:
        self._desired = desired
        self._actual = actual
        self._rooms = rooms
        self._now = now
        self._budgets: dict[str, _Budget] = {}
        # What is left of the rooms that were looked at.
        self._taken: dict[str, Room] = {}
        self.staying: dict[str, dict[str, str]] = {}

    def moved(self, placement: Placement, copies: tuple[Copy, ...]) -> tuple[Copy, ...]:
        """The copies of a wanted task; stopped where its agent is drained or it is to move, if it may now."""
        running = next((copy.agent for copy in copies if copy.intent == "run"), None)
        agent = self._desired.agents.get(running) if running is not None else None
        job = self._desired.jobs.get(task_prefix(placement.task))
        if agent is None or agent.lost_since is not None or job is None:
            return copies
        rebalance = self._desired.rebalance
        move = rebalance.move_from(placement.task, agent.name) if rebalance is not None else None
        if agent.drain is None and move is None:
            return copies
        if ended_for_good(self._actual.report(agent.name, placement.task)):
            return copies
        target = move.target if move is not None and agent.drain is None else None
        why = "" if _is_overdue(agent, self._now) else self._stays(job, task_index(placement.task), target)
        if job.config.everywhere:
            # It has no other place, and goes when its agent does not fit any more.
            why = "its job has a task on each agent; it goes last"
        if why:
            self.staying.setdefault(agent.name, {})[placement.task] = why
            return copies
        return tuple(Copy(copy.agent, "stop") for copy in copies)

    def told(self) -> dict[str, Staying]:
        """By drained agent, why its tasks stay, for people: the first by name."""
        return {
            name: Staying(agent=name, tasks=len(why), why=dict(sorted(why.items())[:MOST_REFUSALS_SHOWN]))
            for name, why in sorted(self.staying.items())
            if self._desired.agents[name].drain is not None
        }

    def _stays(self, job: Job, index: int, target: str | None) -> str:
        """Why this task of a version can't move now; if it can, its place and its stop are taken.

        One that is down already may leave a drained agent at any time: nobody has less for it. It is not
        moved just to even things out.
        """
        if self._desired.migration_of(job.prefix) is not None:
            # Its own steps keep the floor, and place nothing on a drained agent.
            return "its job is being migrated"
        if job.prefix not in self._budgets:
            self._budgets[job.prefix] = self._budget(job)
        budget = self._budgets[job.prefix]
        is_down = index in budget.down
        if is_down and target is not None:
            return "it does not run"
        if budget.stops <= 0 and not is_down:
            return budget.limit
        why = budget.no_room or self._no_room(job, target)
        if target is None:
            budget.no_room = why
        budget.stops -= not is_down and not why
        return why

    def _no_room(self, job: Job, target: str | None) -> str:
        """Why there is no room for one more task of this version (on this agent); taken if there is."""
        need = need_of_job(job)
        rooms = [room for room in self._rooms if target in (None, room.agent)]
        for room in rooms:
            scratch = self._taken.get(room.agent, room)
            if fits(need, scratch):
                if scratch is room:
                    scratch = self._taken[room.agent] = msgspec.structs.replace(
                        room, ports=dict(room.ports), prefixes=dict(room.prefixes)
                    )
                scratch.take(need)
                return ""
        left = [self._taken.get(room.agent, room) for room in rooms]
        return explain(job.prefix, 1, need, left).reason

    def _budget(self, job: Job) -> _Budget:
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
        floor = moving_floor(job)
        spare = running - max(0, floor - len(ended))
        limit = f"{job.config.key} runs {running} tasks, and {floor} is the least (floor)"
        if running == len(wanted) <= floor and surge_of(job.config.update or Update(), running):
            limit += "; only a restart of the job can move it, by its surge"
        if spare > 0:
            limit = f"{missing} other tasks of {job.config.key} do not run yet (max_parallel)"
        return _Budget(min(spare, parallel(job) - missing), limit, stands.down - ended)

    def _goes(self, task: str) -> bool:
        """Whether the time of the agent where it is meant to run is over."""
        row = self._desired.placements.get(task)
        agent = self._desired.agents.get(row.running) if row is not None and row.running else None
        return agent is not None and _is_overdue(agent, self._now)

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


def never_moves(job: Job, desired: Desired) -> str:
    """Why no task of a version can ever be moved with its floor kept, with the numbers; empty if one can.

    With a surge a restart moves them. A migration has steps of its own; a job with scale `all` has no floor.
    """
    update, scale = job.config.update or Update(), len(desired.indices(job))
    if not scale or update.floor is None or desired.migration_of(job.prefix) is not None:
        return ""
    if update.floor < scale or surge_of(update, scale):
        return ""
    return f"{job.config.key} has scale {scale}, floor {update.floor} and no surge"


def parallel(job: Job) -> int:
    """How many tasks of a version move at once."""
    return (job.config.update or Update()).max_parallel


def _is_overdue(agent: Agent, now: float) -> bool:
    at = agent.drain.deadline_at if agent.drain is not None else None
    return at is not None and now >= at
