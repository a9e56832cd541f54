"""Sees in a run which rows of the tables of races and failures it has reached, and counts them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from actors.messages import Mutate
from scheduling.container import RUNNING
from scheduling.desired import AGENT, JOB, PLACEMENT, Agent, Job, Placement
from scheduling.migration import Migration
from scheduling.moves import Rebalance
from scheduling.rebalancing import THE_ONE, open_moves
from scheduling.registry import WritePlacement
from scheduling.replica import Key
from simulation.facts import Facts
from simulation.judge_draining import is_overdue
from simulation.rows import DRAINING, EVERYWHERE, FAILURES, RACES, REBALANCING
from simulation.stage import Address, Backstage, Stage

(_WRITE_IN_FLIGHT, _MOVE, _BACK_BEFORE, _BACK_AFTER, _AWAY, _ADOPTED, _LATE, _, _AGAIN, _NO_ANSWER, _,
 _CAPACITY) = RACES  # fmt: skip
_DRAINED, _DEADLINE, _CLOSED, _MOVED, _MOVED_LATE, _OPENED = DRAINING
_BEGUN, _EVENED, _OVER, _CUT_SHORT, _CANCELLED = REBALANCING
_GIVEN, _TAKEN, _RESIZED = EVERYWHERE
(_, _BREAKS, _SILENT, _ACTOR_DIES, _SUPERVISOR_DIES, _, _, _HOST, _FULL, _, _NO_ROOM) = FAILURES


class Sightings:
    """Counts by row. What is told here comes from `watch.py`."""

    def __init__(self, stage: Stage, facts: Facts) -> None:
        self.counts: Counter[str] = Counter()
        self._stage, self._facts = stage, facts
        self._links: dict[str, str] = {}
        self._ran_on: dict[str, str] = {}
        self._said: set[tuple[int, str, str]] = set()

    def ended(self, actor: Backstage) -> None:
        """An actor has ended."""
        if actor.parent is not None and actor.parent.alive:
            self.counts[_ACTOR_DIES] += 1
        elif actor.kind == "Supervisor":
            self.counts[_SUPERVISOR_DIES] += 1
            self.counts[_HOST] += bool(self._facts.placed)

    def moved(self, before: Migration | None, after: Migration) -> None:
        """A row of a migration is written."""
        if before is None:
            self.counts[f"a migration is begun, {after.limits.strategy}"] += 1
            return
        if before.state is not after.state:
            self.counts[f"a migration is {before.state}, then {after.state}"] += 1
            self.counts[f"a migration ends as {after.state}, {after.limits.strategy}"] += after.over
        self.counts["a migration is paused"] += after.paused and not before.paused
        self.counts["a migration is resumed"] += before.paused and not after.paused
        self.counts["a migration is promoted"] += after.promoted and not before.promoted

    def arrives(self, message: Mutate, sender: Address) -> None:
        """Mutations come to the registry."""
        disk = self._facts.disk
        self.counts[_FULL] += disk.full
        for request_id, mutation in message.mutations:
            self.counts[_AGAIN] += request_id in disk.answers
            # Users name a batch after its request and the number of the try.
            self.counts[_NO_ANSWER] += bool(request_id) and not message.batch.endswith("-1")
            if isinstance(mutation, WritePlacement) and sender not in self._stage.actors:
                row = self._facts.row(mutation.task)
                self.counts[_WRITE_IN_FLIGHT] += (row.generation if row else 0) != mutation.expected

    def stepped(self, actor: Backstage) -> None:
        """An actor has handled a message."""
        if actor.kind == "StateMachine" and hasattr(actor.performer, "status"):
            status = actor.performer.status
            self.counts[_BREAKS] += status.link == "stale" and self._links.get(status.name) == "connected"
            self._links[status.name] = status.link
        elif actor.kind == "Scheduler" and hasattr(actor.performer, "rule"):
            self._scheduler_stepped(actor)

    def _scheduler_stepped(self, actor: Backstage) -> None:
        rule = actor.performer.rule
        for prefix in rule._unplaced:
            job = rule.desired.jobs.get(prefix)
            if job is not None and not job.adopt and rule._copies.unknown_holders(job):
                self._once(actor, _LATE, prefix)
        for key, why in actor.performer.publisher.state.items():
            if getattr(why, "refusals", ()):
                self._once(actor, _NO_ROOM, key[1])

    def _once(self, actor: Backstage, row: str, what: str) -> None:
        self.counts[row] += (actor.serial, row, what) not in self._said
        self._said.add((actor.serial, row, what))

    def committed(self, before: Mapping[Key, Any], changes: Mapping[Key, Any]) -> None:
        """The registry has committed this."""
        for key, new in changes.items():
            old = before.get(key)
            if key[0] == AGENT and isinstance(new, Agent) and isinstance(old, Agent):
                self.counts[_SILENT] += old.lost_since is None and new.lost_since is not None
                if old.lost_since is not None and new.lost_since is None:
                    self._is_back(new.name)
                self._closes(old, new)
            elif key[0] == PLACEMENT and isinstance(new, Placement):
                self._placed(old, new)
            elif key == THE_ONE and isinstance(new, Rebalance):
                self.counts[_BEGUN] += not new.over
                cancelled = new.over and new.reason.startswith("cancelled")
                left = new.over and bool(open_moves(self._facts.desired, new))
                self.counts[_OVER] += new.over and not left
                self.counts[_CANCELLED] += cancelled
                self.counts[_CUT_SHORT] += left and not cancelled
            elif key[0] == JOB and isinstance(new, Job) and isinstance(old, Job) and new.places is not None:
                was, now = set((old.places or {}).values()), set(new.places.values())
                self.counts[_GIVEN] += len(now - was)
                self.counts[_TAKEN] += len(was - now)
                resized = old.places not in (None, new.places)
                self.counts[_RESIZED] += resized and self._facts.desired.migration_of(new.prefix) is not None

    def _closes(self, old: Agent, new: Agent) -> None:
        self.counts[_OPENED] += old.drained and not new.drained
        if (new.drained, new.drain) != (old.drained, old.drain) and new.drained:
            by = new.drain.deadline_at if new.drain is not None else None
            self.counts[_CLOSED if new.drain is None else _DRAINED if by is None else _DEADLINE] += 1

    def _is_back(self, name: str) -> None:
        for task in self._facts.agents[name].containers:
            row = self._facts.row(task)
            runs = row.running if row is not None else None
            if runs not in (None, name) and self._facts.copy(task, name) is not None:
                there = self._facts.agents[str(runs)].containers.get(task)
                self.counts[_BACK_AFTER] += there is not None and there.status == RUNNING

    def _placed(self, old: Placement | None, new: Placement) -> None:
        where, task = new.running, new.task
        was = old.running if old is not None else None
        host = self._facts.desired.agents.get(was) if was is not None else None
        if where is None and host is not None and host.drain is not None and self._facts.job_of(task):
            late = is_overdue(host, self._stage.clock.now)
            self.counts[_MOVED_LATE if late else _MOVED] += 1
        evened = self._facts.desired.under_way
        self.counts[_EVENED] += (
            evened is not None and was not in (None, where) and evened.move_from(task, str(was)) is not None
        )
        if where is None:
            away = any(self._links.get(copy.agent) != "connected" for copy in new.copies)
            self.counts[_AWAY] += away and self._facts.job_of(task) is None
            return
        self.counts[_MOVE] += self._ran_on.get(task, where) != where
        self._ran_on[task] = where
        containers = self._facts.agents[where].containers
        if old is None:
            self.counts[_ADOPTED] += task in containers
        elif was not in (None, where):
            self.counts[_BACK_BEFORE] += any(copy.agent == where for copy in old.copies)
        if was != where and task not in containers:
            others = [row.task for row in self._rows_on(where) if row.task != task]
            on_their_way = any(other not in containers for other in others)
            self.counts[_CAPACITY] += on_their_way and any(other in containers for other in others)

    def _rows_on(self, agent: str) -> list[Placement]:
        rows = [row for key, row in self._facts.disk.state.items() if key[0] == PLACEMENT]
        return [row for row in rows if any(copy.agent == agent for copy in row.copies)]
