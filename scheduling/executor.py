"""What one state machine does: bring an agent's containers to their goals, a request at a time each.

Commands, events, replies and the clock go in; requests to send and reports to publish come out. One
request per container is in flight; how many containers of the agent at a time is bounded. Times are
seconds since 1970, given; jitter comes from the `random.Random` given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random
from typing import Literal

import msgspec

from config.bounds import FORGOTTEN_KEPT, LONGEST_RETRY_SECONDS, REQUESTS_IN_FLIGHT
from scheduling.actual import CONTAINER, ContainerReport
from scheduling.commands import Command, Goal
from scheduling.container import ContainerInstance, Metrics
from scheduling.lifecycle import PENDING, STEPS, Input, Phase, advance, seen
from scheduling.replica import Changes

# How long the event stream may take to prove a request; an artifact may take minutes.
DEADLINE_SECONDS = {Input.PUT: 600.0, Input.START: 60.0, Input.STOP: 60.0, Input.DELETE: 60.0}
# How long a request that was never answered may still reach the agent. After that its full state is asked
# for; one that comes late means that the agent was hung, and may have such requests before it still.
DOUBT_SECONDS = 30.0
LATE_ANSWER_SECONDS = 5.0
# A put that was refused is not under way any more, but may have been carried out all the same: so long after
# the refusal the full state says.
REFUSED_SECONDS = 5.0
FIRST_RETRY_SECONDS = 0.5
FOREVER = float("inf")

# Done late they would do harm: make a container that nobody wants any more, or stop its successor.
DOUBTED = (Input.PUT, Input.STOP)

Outcome = Literal["accepted", "contradicted", "refused", "unanswered"]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to send to the agent: put, start, stop or delete this container."""

    task: str
    step: Input
    body: bytes = b""


class _Record(msgspec.Struct, kw_only=True):
    """One container: where it stands, where it should get, and what is under way."""

    task: str
    phase: Phase = Phase.ABSENT
    goal: Goal | Literal[""] = ""
    generation: int = 0
    config: bytes = b""
    instance: ContainerInstance | None = None
    error: str = ""
    in_flight: bool = False
    gone_overlooked: bool = False
    deadline: float | None = None
    doubted: Input | None = None
    doubt_until: float = 0.0
    doubted_puts: int = 0
    attempts: int = 0
    retry_at: float = 0.0


class Executor:
    """The containers of one agent. Methods take what happened and the time; nothing here waits or sends."""

    def __init__(self, agent: str, rng: Random, in_flight_limit: int = REQUESTS_IN_FLIGHT) -> None:
        self.agent = agent
        self._rng = rng
        # How many containers may have a request under way.
        self.in_flight_limit = in_flight_limit
        self._records: dict[str, _Record] = {}
        self._changed: dict[str, None] = {}
        self._ready: dict[str, None] = {}
        self._in_flight = 0
        # Containers with a request under way, or one that the event stream has not proven yet.
        self._pending: set[str] = set()
        self._forgotten: dict[str, int] = {}
        self._due_at = FOREVER
        # Set when the agent contradicts what the stream said: only its full state settles that.
        self.contradicted = False

    def command(self, commands: Iterable[Command], configs: Mapping[str, bytes]) -> None:
        """Take in commands; one older than what is known of its container is ignored."""
        for command in commands:
            record = self._records.get(command.task)
            forgotten = self._forgotten.get(command.task, 0)
            if command.generation < max(forgotten, record.generation if record else 0):
                continue
            if command.goal == "forget":
                self._forget(command)
                continue
            if command.goal == "run" and command.generation == forgotten:
                continue  # a late double of what was carried out, stopped and forgotten
            record = self._record(command.task)
            if record.goal != command.goal:
                record.retry_at, record.attempts, record.error = 0.0, 0, ""
            record.goal, record.generation = command.goal, command.generation
            record.config = configs.get(command.prefix, record.config)
            self._touch(record)

    def saw(self, containers: Mapping[str, ContainerInstance], *, everything: bool, now: float) -> None:
        """Take in what the stream says; `everything`: what is not in it is not there."""
        for task, instance in containers.items():
            self._saw(self._record(task), instance, now)
        if everything:
            for task in [task for task in self._records if task not in containers]:
                self._saw(self._records[task], None, now)
            self._settle_doubts(now)

    def was_away(self) -> None:
        """The agent is back after an outage: what is not as commanded waits for a new command.

        It may have been lost meanwhile, and its tasks may run elsewhere: only their placements say. Or it is
        this copy that stays, because what was to replace it does not run yet.
        """
        for record in list(self._records.values()):
            being_made = record.phase in (Phase.CREATING, Phase.UNCLEAR)
            waits = being_made or STEPS[record.phase, record.goal] is not None
            stays_maybe = record.goal == "stop" and record.phase is Phase.RUNNING
            if (record.goal == "run" and waits) or stays_maybe:
                record.goal, record.generation = "", 0
                self._touch(record)
                self._drop_if_gone(record)

    def replied(self, task: str, step: Input, outcome: Outcome, error: str, now: float) -> None:
        """Take in the reply to a request, or that none came."""
        record = self._records.get(task)
        self._in_flight -= 1
        if record is None or not record.in_flight:
            return
        record.in_flight = False
        if record.deadline is not None:
            self._due_by(record.deadline)
        if step in DOUBTED:
            self._doubt(record, step, outcome, now)
        if outcome == "contradicted" or (outcome == "accepted" and record.gone_overlooked):
            self.contradicted = True
        elif outcome in ("refused", "unanswered") and record.phase in PENDING:
            record.error = error
            self._failed(record, Input.REFUSED if outcome == "refused" else Input.DEADLINE, now)
        record.gone_overlooked = False
        self._touch(record)
        self._drop_if_gone(record)

    def _doubt(self, record: _Record, step: Input, outcome: Outcome, now: float) -> None:
        """Without a yes or a no that can be relied on, only the full state says whether it was done."""
        if outcome == "unanswered":
            until = now + DOUBT_SECONDS
        elif outcome == "refused" and step is Input.PUT:
            until = max(record.doubt_until, now + REFUSED_SECONDS)
        else:
            return
        record.doubted, record.doubt_until = step, until
        record.doubted_puts += step is Input.PUT
        self._due_by(until)

    @property
    def idle(self) -> bool:
        """Whether there is no container, wanted or not."""
        return not self._records

    @property
    def busy(self) -> bool:
        """Whether a reply is expected, or an event that proves a request."""
        return bool(self._pending)

    def has_requests(self, now: float) -> bool:
        """Whether `requests` would return any now."""
        return self._in_flight < self.in_flight_limit and any(
            not record.in_flight and record.retry_at <= now and STEPS[record.phase, record.goal] is not None
            for record in map(self._records.get, self._ready)
            if record is not None
        )

    def requests(self, now: float) -> list[Request]:
        """The requests to send now; each counts as in flight until `replied`."""
        sending: list[Request] = []
        for task in list(self._ready):
            if self._in_flight >= self.in_flight_limit:
                break
            record = self._records.get(task)
            del self._ready[task]
            if record is None or record.in_flight or record.retry_at > now:
                continue
            step = STEPS[record.phase, record.goal]
            if step is None:
                continue
            if step is Input.PUT and record.doubted is Input.PUT and record.doubt_until:
                record.doubted_puts += 1  # what is seen then may be of this one, and the other come later
            record.phase = advance(record.phase, step)
            record.in_flight = True
            record.deadline = now + DEADLINE_SECONDS[step]
            self._in_flight += 1
            self._pending.add(task)
            self._changed[task] = None
            sending.append(Request(task=task, step=step, body=record.config if step is Input.PUT else b""))
        return sending

    def tick(self, now: float) -> float | None:
        """Let deadlines and retries come due; returns when to call again, None for not by itself."""
        if now < self._due_at:
            return self._due_at if self._due_at < FOREVER else None
        next_at: float | None = None
        for record in self._records.values():
            if record.deadline is not None and record.phase in PENDING and not record.in_flight:
                if record.deadline <= now:
                    record.error = f"the agent has not shown it {record.phase.value} in time"
                    self._failed(record, Input.DEADLINE, now)
                    self._touch(record)
                else:
                    next_at = _earlier(next_at, record.deadline)
            if record.retry_at > now:
                next_at = _earlier(next_at, record.retry_at)
            elif record.retry_at > 0.0:
                record.retry_at = 0.0
                self._touch(record)
            if record.doubt_until > now:
                next_at = _earlier(next_at, record.doubt_until)
            elif record.doubt_until > 0.0:
                self.contradicted = True
                next_at = _earlier(next_at, now + LATE_ANSWER_SECONDS)
        self._due_at = FOREVER if next_at is None else next_at
        return next_at

    def _due_by(self, at: float) -> None:
        """Make sure that `tick` looks at the records by then; before, it need not, and costs nothing."""
        self._due_at = min(self._due_at, at)

    def reports(self) -> Changes:
        """What changed since the last call, to be published; metrics are no change."""
        changes: Changes = {(CONTAINER, self.agent, task): self._report(task) for task in self._changed}
        self._changed = {}
        return changes

    def metrics(self) -> dict[str, Metrics]:
        """A sample of the running containers."""
        return {
            task: record.instance.process_state.container_metrics
            for task, record in self._records.items()
            if record.phase is Phase.RUNNING and record.instance is not None
        }

    def _saw(self, record: _Record, instance: ContainerInstance | None, now: float) -> None:
        said = Input.SAW_GONE if instance is None else seen(instance.status)
        before, old = record.phase, record.instance
        if said is Input.SAW_GONE and before is Phase.CREATING and record.in_flight:
            # This may be older than our request, or what became of it: the full state says which.
            record.gone_overlooked = True
            return
        if before is Phase.ABSENT and said is Input.SAW_RUNNING and _is_proof(record):
            record.goal = ""  # that stop is done; what is back from an old disk may be wanted by now
        record.phase = advance(before, said)
        if said is not Input.SAW_GONE and record.doubted is Input.PUT and record.doubted_puts == 1:
            record.doubt_until, record.doubted_puts = 0.0, 0  # what was in doubt has arrived
        if said is Input.SAW_GONE and before is Phase.CREATING:
            record.error = (instance.process_state.err if instance else "") or "the agent has dropped it"
            self._back_off(record, now)
        record.instance = instance if said is not Input.SAW_GONE else None
        if record.phase is not before:
            if before in (Phase.ABSENT, Phase.UNCLEAR) and record.phase is Phase.CREATED and not record.goal:
                self._undo(record)
            record.deadline = None
            if record.phase is Phase.RUNNING and record.goal == "run":
                record.error, record.attempts, record.retry_at = "", 0, 0.0
        if record.phase is not before or not _same_but_metrics(old, record.instance):
            self._touch(record)
        self._drop_if_gone(record)

    def _undo(self, record: _Record) -> None:
        """What was gone and forgotten is there again, not started: by a late put, of a predecessor even."""
        if record.task in self._forgotten:
            record.goal, record.generation = "stop", self._forgotten[record.task]

    def _settle_doubts(self, now: float) -> None:
        """The full state has come: what was in doubt for long enough is as it says."""
        for record in list(self._records.values()):
            if 0.0 < record.doubt_until <= now:
                late = now - record.doubt_until > LATE_ANSWER_SECONDS
                record.doubt_until = now + LATE_ANSWER_SECONDS if late else 0.0
                record.doubted_puts = record.doubted_puts if late else 0
                self._due_by(now + LATE_ANSWER_SECONDS)
                self._touch(record)
                self._drop_if_gone(record)

    def _failed(self, record: _Record, how: Input, now: float) -> None:
        """A request was refused, or nothing proved it in time: go back, and try again later."""
        deleting = record.phase is Phase.DELETING
        record.phase = advance(record.phase, how)
        if deleting and record.instance is not None:
            # It may have been deleted from any phase: it is where it was last seen.
            record.phase = advance(Phase.UNCLEAR, seen(record.instance.status))
        record.deadline = None
        self.contradicted |= record.attempts > 0
        self._back_off(record, now)

    def _back_off(self, record: _Record, now: float) -> None:
        pause = min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(record.attempts, 10))
        record.attempts += 1
        record.retry_at = now + pause * self._rng.uniform(0.5, 1.0)
        self._due_by(record.retry_at)

    def _forget(self, command: Command) -> None:
        record = self._records.get(command.task)
        known = self._forgotten.pop(command.task, None)
        self._forgotten[command.task] = command.generation
        while len(self._forgotten) > FORGOTTEN_KEPT:
            del self._forgotten[next(iter(self._forgotten))]
        if record is None:
            self._changed[command.task] = None
            return
        if known == command.generation and record.phase is not Phase.ABSENT:
            return  # it was there again after it had been forgotten, and is being undone
        if record.goal == "stop" and record.phase not in (Phase.ABSENT, Phase.RUNNING):
            return  # it was there again before that: the placement had gone on proof
        record.goal, record.generation, record.config = "", 0, b""
        self._touch(record)
        self._drop_if_gone(record)

    def _drop_if_gone(self, record: _Record) -> None:
        """Forget a container that nobody wants anything of, once it is not there and can't come any more."""
        settled = not record.in_flight and not record.doubt_until
        if record.phase is Phase.ABSENT and not record.goal and settled:
            self._records.pop(record.task, None)
            self._pending.discard(record.task)

    def _report(self, task: str) -> ContainerReport | None:
        record = self._records.get(task)
        if record is None:
            return None
        phase = record.phase
        if phase is Phase.ABSENT and (record.in_flight or record.doubt_until):
            phase = Phase.UNCLEAR  # a request of ours may still create it: that is no proof of absence
        return ContainerReport(
            agent=self.agent,
            task=task,
            phase=phase,
            goal="" if record.goal == "forget" else record.goal,
            generation=record.generation,
            instance=record.instance.without_metrics() if record.instance else None,
            error=record.error,
            refusals=record.attempts if record.goal == "run" else 0,
        )

    def _record(self, task: str) -> _Record:
        if task not in self._records:
            self._records[task] = _Record(task=task)
        return self._records[task]

    def _touch(self, record: _Record) -> None:
        self._changed[record.task] = None
        self._ready[record.task] = None
        if not record.in_flight and record.phase not in PENDING:
            self._pending.discard(record.task)


def _is_proof(record: _Record) -> bool:
    """Whether a container that is absent was reported so for its stop: its placement may have gone on."""
    return record.goal == "stop" and not record.in_flight and not record.doubt_until


def _same_but_metrics(old: ContainerInstance | None, new: ContainerInstance | None) -> bool:
    return old is new if old is None or new is None else old.same_but_metrics(new)


def _earlier(at: float | None, other: float) -> float:
    return other if at is None else min(at, other)
