"""The transformer's rule: compare each placement with what its agent reports, and command the difference.

A command is level-triggered, so one is due wherever the report does not echo the placement's
generation and intent; it is sent again only when no echo came for a while (a message or a state
machine was lost on the way). At once, when the link to its agent has changed: its state machine may have
been lost with it. Otherwise when the echo is far later than others are: one that is merely late, because
there are many, is not sent again, since that would make all later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from config.bounds import LONGEST_ECHO_SECONDS, LONGEST_KEPT_SECONDS
from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, Actual
from scheduling.canonical import go_json
from scheduling.commands import Batch, Command
from scheduling.desired import AGENT, JOB, PLACEMENT, Copy, Desired, Placement
from scheduling.job import task_id, task_prefix
from scheduling.replica import Key

# How long an echo may take: so long, and longer while many commands are under way or echoes come slowly.
ECHO_SECONDS = 5.0
ECHO_SECONDS_A_COMMAND = 0.003
ECHO_TIMES_THE_SLOWEST = 3.0
# Proofs of absence are forgotten once no more have come for so long.
QUIET_SECONDS = 1.0
# Each echo that is quicker takes so much of the slowest one's weight.
_FADES = 0.05


class Transformer:
    """Keeps track of what a change touches and of the commands on their way. Times are seconds, given."""

    def __init__(self) -> None:
        self.desired = Desired()
        self.actual = Actual()
        self._dirty: set[str] = set()
        # By task, then agent: the last command and when it was sent.
        self._sent: dict[str, dict[str, tuple[Command, float]]] = {}
        # How long the slowest of the recent echoes took.
        self._slowest_seconds = 0.0
        # Proofs of absence that need not be kept: nobody waits for that, so it is commanded when it is quiet.
        self._to_forget: set[str] = set()
        self._first_to_forget_at = self._last_to_forget_at = 0.0
        self._forgetting = False

    @property
    def has_work(self) -> bool:
        """Whether anything was touched since the last look."""
        return bool(self._dirty)

    def desired_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the desired state."""
        self.desired.apply(changes)
        for key, value in changes.items():
            if key[0] == PLACEMENT:
                self._dirty.add(key[1])
            elif key[0] == JOB and value is not None:
                # A placement may have come before the job that says what to run.
                tasks = (task_id(key[1], index) for index in value.members)
                self._dirty.update(task for task in tasks if task in self.desired.placements)
            elif key[0] == AGENT:
                self._dirty.update(self.desired.by_agent.get(key[1], ()))

    def actual_changed(self, changes: Mapping[Key, Any]) -> None:
        """Take in changes of the actual state."""
        before = {key[1]: self._link(key[1]) for key in changes if key[0] == ACTUAL_AGENT}
        self.actual.apply(changes)
        self._dirty.update(key[2] for key in changes if key[0] == CONTAINER)
        for name, link in before.items():
            if self._link(name) != link:
                touched = {*self.desired.by_agent.get(name, ()), *self.actual.containers.get(name, ())}
                self._dirty.update(touched)
                for task in touched & self._sent.keys():
                    self._sent[task].pop(name, None)

    def resend(self, now: float) -> None:
        """Look again at commands that were not echoed in time."""
        patience_seconds = self._patience_seconds()
        for task, by_agent in self._sent.items():
            late = [agent for agent, (_, at) in by_agent.items() if now - at >= patience_seconds]
            for agent in late:
                del by_agent[agent]
            if late:
                self._dirty.add(task)
        quiet = now - self._last_to_forget_at >= QUIET_SECONDS
        if quiet or now - self._first_to_forget_at >= LONGEST_KEPT_SECONDS:
            self.forget()

    def forget(self) -> None:
        """Have the proofs that need not be kept forgotten with the next commands."""
        if self._to_forget:
            self._dirty.update(self._to_forget)
            self._to_forget, self._forgetting = set(), True

    def decide(self, now: float) -> Batch:
        """The commands that are due."""
        commands: dict[str, list[Command]] = {}
        configs: dict[str, bytes] = {}
        for task in sorted(self._dirty):
            due = self._due(task)
            if not self._forgetting and any(command.goal == "forget" for command in due.values()):
                due = {agent: command for agent, command in due.items() if command.goal != "forget"}
                self._forget_later(task, now)
            sent = self._sent.pop(task, {})
            for agent in sent.keys() - due.keys():
                if self._listens(agent) and sent[agent][0].goal != "forget":
                    self._echoed(now - sent[agent][1])
            if not due:
                continue
            for agent, command in due.items():
                if agent in sent and sent[agent][0] == command:
                    continue
                sent[agent] = (command, now)
                commands.setdefault(agent, []).append(command)
                if command.prefix and command.prefix not in configs:
                    configs[command.prefix] = (
                        go_json(self.desired.jobs[command.prefix].config.container()) + b"\n"
                    )
            self._sent[task] = {agent: sent[agent] for agent in due}
        self._dirty, self._forgetting = set(), False
        return Batch(
            commands={agent: tuple(batch) for agent, batch in commands.items()},
            configs=configs,
            lives={agent: self.actual.agents[agent].life for agent in commands},
        )

    def _due(self, task: str) -> dict[str, Command]:
        """The commands that one task calls for, by agent."""
        placement = self.desired.placements.get(task)
        due: dict[str, Command] = {}
        placed = set()
        for copy in placement.copies if placement else ():
            placed.add(copy.agent)
            command = self._command(copy, placement) if placement else None
            if command is not None:
                due[copy.agent] = command
        for agent in sorted(self.actual.by_task.get(task, set()) - placed):
            report = self.actual.report(agent, task)
            if report is not None and report.goal and self._listens(agent):
                due[agent] = Command(task=task, generation=report.generation, goal="forget")
        return due

    def _command(self, copy: Copy, placement: Placement) -> Command | None:
        """What to ask for one copy; None where the report agrees, or it must not be asked now."""
        task, prefix, generation = placement.task, task_prefix(placement.task), placement.generation
        report = self.actual.report(copy.agent, task)
        agrees = report is not None and report.generation == generation and report.goal == copy.intent
        if agrees or not self._listens(copy.agent) or self._is_lost(copy.agent):
            return None
        if copy.intent == "stop":
            return Command(task=task, generation=generation, goal="stop")
        if prefix not in self.desired.jobs or self._may_run_elsewhere(copy, placement):
            return None
        return Command(task=task, generation=generation, goal="run", prefix=prefix)

    def _forget_later(self, task: str, now: float) -> None:
        if not self._to_forget:
            self._first_to_forget_at = now
        self._last_to_forget_at = now
        self._to_forget.add(task)

    def _patience_seconds(self) -> float:
        """How long an echo may take now."""
        under_way = sum(map(len, self._sent.values()))
        slow = max(ECHO_SECONDS_A_COMMAND * under_way, ECHO_TIMES_THE_SLOWEST * self._slowest_seconds)
        return min(max(ECHO_SECONDS, slow), LONGEST_ECHO_SECONDS)

    def _echoed(self, seconds: float) -> None:
        self._slowest_seconds = max(
            seconds, self._slowest_seconds + _FADES * (seconds - self._slowest_seconds)
        )

    def _link(self, agent: str) -> tuple[bool, float]:
        """What is another after the state machine of an agent, or its stream, was another."""
        status = self.actual.agents.get(agent)
        return self._listens(agent), status.since if status is not None else 0.0

    def _listens(self, agent: str) -> bool:
        """Whether commands reach this agent: its state machine takes none while its stream is broken."""
        status = self.actual.agents.get(agent)
        return status is not None and status.answered and status.link == "connected"

    def _is_lost(self, agent: str) -> bool:
        """Whether it is written down as lost: one that is back is asked for nothing before it is written down
        which of its copies stay."""
        known = self.desired.agents.get(agent)
        return known is not None and known.lost_since is not None

    def _may_run_elsewhere(self, copy: Copy, placement: Placement) -> bool:
        """Whether another copy is neither proven absent (then it had left the placement) nor lost."""
        return any(
            (agent := self.desired.agents.get(other.agent)) is not None and agent.lost_since is None
            for other in placement.copies
            if other.agent != copy.agent
        )
