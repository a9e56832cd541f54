"""Whether what a scheduler writes follows from what it knows: who is lost, who waits, and where to go.

It is judged when the scheduler sends its writes, by its own replicas: those are all it can go by. The rule
keeps notes of its own (since when the brake holds, what has failed); here they are taken anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from actors.messages import Mutate
from scheduling.desired import Placement
from scheduling.everywhere import WritePlaces
from scheduling.failures import given_up
from scheduling.job import task_prefix
from scheduling.lifecycle import Phase
from scheduling.migrating import StepMigration
from scheduling.placement import fits
from scheduling.presence import MarkLost
from scheduling.registry import WritePlacement
from scheduling.room import need_of
from simulation.facts import Facts, Violation
from simulation.judge_draining import is_rebalanced, judge_drained, judge_moves
from simulation.judge_everywhere import judge_place, judge_places
from simulation.judge_migration import judge_step
from simulation.stage import Backstage

# As docs/architecture.md has them; taken from nowhere else, so that a change there is noticed here.
BRAKE_AGENTS, BRAKE_SHARE, BRAKE_SECONDS = 3, 0.5, 600.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, CALM_SECONDS = 5.0, 300.0, 600.0


class _Failed(msgspec.Struct, frozen=True, kw_only=True):
    """A task was given up: how often in a row, when and where last, at which generation."""

    count: int
    at: float
    agent: str
    generation: int


class SchedulerJudge:
    """Notes about one scheduler, for its life."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._many_since: float | None = None
        self.failed: dict[str, _Failed] = {}

    def stepped(self, actor: Backstage, now: float) -> None:
        """The scheduler has handled a message: take note of what it knows."""
        rule = actor.performer.rule
        followed = [agent.name for agent in rule.desired.agents.values() if agent.sources]
        away = sum(1 for name in followed if not _connected(rule, name))
        many = away >= BRAKE_AGENTS and away > BRAKE_SHARE * len(followed)
        self._many_since = (now if self._many_since is None else self._many_since) if many else None
        for task in [task for task in self.failed if not _wanted(rule, task)]:
            del self.failed[task]

    def sent(self, actor: Backstage, message: Mutate, now: float) -> Iterator[Violation]:
        """The scheduler sends these writes: what of it does not follow."""
        rule = actor.performer.rule
        self.stepped(actor, now)
        writes = {each.task: each for _, each in message.mutations if isinstance(each, WritePlacement)}
        yield from judge_moves(rule, writes, now)
        for _, mutation in message.mutations:
            if isinstance(mutation, WritePlacement):
                yield from self._judge_write(rule, mutation, now)
                yield from judge_drained(rule, mutation)
                yield from judge_place(rule, mutation)
            elif isinstance(mutation, WritePlaces):
                yield from judge_places(rule, mutation)
            elif isinstance(mutation, StepMigration):
                yield from judge_step(rule, mutation.migration)
            elif isinstance(mutation, MarkLost) and mutation.since is not None:
                yield from self._judge_lost(actor, mutation.agent, now)
            elif isinstance(mutation, MarkLost):
                yield from _judge_back(rule, mutation.agent, writes)

    def _judge_lost(self, actor: Backstage, name: str, now: float) -> Iterator[Violation]:
        """ "While more than half of the agents (at least three) are away at once, none is declared lost", and
        "lost: away for longer than is tolerated"."""
        rule = actor.performer.rule
        agent = rule.desired.agents.get(name)
        if agent is None or agent.declared_lost:
            return
        braked = self._many_since is not None and now - self._many_since < BRAKE_SECONDS
        if braked and rule.desired.brake_release is None:
            yield Violation("the brake holds", f"{name} is declared lost while most agents are away", (name,))
        status = rule.actual.agents.get(name)
        since = status.since if status is not None else actor.made_at
        tolerance = min([actor.performer.settings.lost_after_seconds, *_tolerances(rule, name)])
        if now - since < tolerance:
            text = f"{name} is declared lost after {now - since:.1f} s; tolerated are {tolerance:.0f} s"
            yield Violation("lost after the tolerance", text, (name,))

    def _judge_write(self, rule: Any, write: WritePlacement, now: float) -> Iterator[Violation]:
        old: Placement | None = rule.desired.placements.get(write.task)
        was = old.running if old is not None else None
        runs = next((copy.agent for copy in write.copies if copy.intent == "run"), None)
        if old is not None and was is not None and runs is None and _wanted(rule, write.task):
            self._note_failure(rule, old, was, now)
        elif runs is not None and was is None:
            yield from self._judge_retry(rule, write.task, runs, now)

    def _note_failure(self, rule: Any, old: Placement, agent: str, now: float) -> None:
        report = rule.actual.report(agent, old.task)
        host = rule.desired.agents.get(agent)
        if host is None or host.lost_since is not None:
            return
        if (host.drain is not None or is_rebalanced(rule, old)) and not given_up(report, old):
            return  # it is moved
        ended = report is not None and (report.phase is Phase.ENDED or report.refusals > 0)
        before = self.failed.get(old.task)
        if not ended or (before is not None and before.generation == old.generation):
            return
        again = before is not None and now - before.at < CALM_SECONDS
        count = before.count + 1 if before is not None and again else 1
        self.failed[old.task] = _Failed(count=count, at=now, agent=agent, generation=old.generation)

    def _judge_retry(self, rule: Any, task: str, agent: str, now: float) -> Iterator[Violation]:
        """ "Placed again with exponential backoff, elsewhere if another agent fits"."""
        failed = self.failed.get(task)
        if failed is None or task in self._facts.agents[agent].containers:
            return  # an adoption is no retry
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failed.count - 1))
        if now - failed.at < pause - 0.001:
            text = f"{task} is tried again after {now - failed.at:.1f} s; it has failed {failed.count} times"
            yield Violation("a failed task waits", text, (task, agent))
        if rule.desired.jobs[task_prefix(task)].config.everywhere:
            return  # it has no other place
        need = need_of(rule.desired.jobs[task_prefix(task)].config)
        others = [room.agent for room in rule.rooms.open() if room.agent != agent and fits(need, room)]
        if agent == failed.agent and others:
            text = f"{task} is placed on {agent} again, where it has failed; {', '.join(others)} would fit"
            yield Violation("a failed task goes elsewhere", text, (task, agent))


def _judge_back(rule: Any, name: str, writes: dict[str, WritePlacement]) -> Iterator[Violation]:
    """ "The placement goes back to the returned copy": before its agent counts as back."""
    for task in sorted(rule.desired.by_agent.get(name, ())):
        placement = rule.desired.placements[task]
        runs = placement.running
        replaced = runs not in (None, name) and _wanted(rule, task) and _runs(rule, name, task)
        if not replaced or _runs(rule, runs, task):
            continue
        write = writes.get(task)
        stays = [copy.agent for copy in write.copies if copy.intent == "run"] if write is not None else [runs]
        if not any(_runs(rule, agent, task) for agent in stays):
            text = f"{task} runs on {name}, which is back, and is to be stopped for one that does not run yet"
            yield Violation("the returned copy stays", text, (task, name))


def _connected(rule: Any, name: str) -> bool:
    status = rule.actual.agents.get(name)
    return status is not None and status.link == "connected" and status.answered


def _runs(rule: Any, agent: str, task: str) -> bool:
    report = rule.actual.report(agent, task)
    return report is not None and report.phase is Phase.RUNNING


def _wanted(rule: Any, task: str) -> bool:
    wanted: bool = rule.desired.wanted(task)
    return wanted


def _tolerances(rule: Any, agent: str) -> Iterator[float]:
    """What the jobs of the agent's tasks say themselves about how long it may be away."""
    for task in rule.desired.by_agent.get(agent, ()):
        job = rule.desired.jobs.get(task_prefix(task))
        if job is not None and job.config.on_lost is not None:
            yield job.config.on_lost.after.seconds
