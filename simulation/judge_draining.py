"""Whether moves, away from drained agents or by a rebalance, follow from what their scheduler knows: floors,
counted anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduling.container import FINISHED
from scheduling.desired import Agent, Job, Placement
from scheduling.failures import given_up
from scheduling.job import task_id, task_prefix
from scheduling.lifecycle import Phase
from scheduling.registry import WritePlacement
from scheduling.update import Update
from simulation.facts import Violation
from simulation.judge_migration import stands


def judge_moves(rule: Any, writes: dict[str, WritePlacement], now: float) -> Iterator[Violation]:
    """ "Each job keeps its floor", and "what is migrating keeps its own"; once the time is over, neither."""
    moves: dict[str, list[str]] = {}
    for task, write in writes.items():
        agent = _moved_from(rule, write)
        if agent is not None and not is_overdue(agent, now):
            moves.setdefault(task_prefix(task), []).append(task)
    for prefix, tasks in moves.items():
        job: Job = rule.desired.jobs[prefix]
        if rule.desired.migration_of(prefix) is not None:
            yield Violation("migrations keep their tasks", f"{tasks} are moved meanwhile", tuple(tasks))
        stopped = [task for task in tasks if stands(rule, task) != "down"]
        wanted = [task_id(prefix, index) for index in rule.desired.indices(job)]
        ended = sum(_has_ended(rule, task) for task in wanted)
        left = sum(stands(rule, task) == "running" and _stays(writes.get(task)) for task in wanted)
        update = job.config.update or Update()
        floor = update.floor if update.floor is not None else len(job.members) - update.max_parallel
        if stopped and left < floor - ended:
            text = f"{', '.join(stopped)} is moved; {left} are left, the floor is {floor}, {ended} have ended"
            yield Violation("the floor is kept while agents are drained", text, tuple(stopped))


def judge_drained(rule: Any, write: WritePlacement) -> Iterator[Violation]:
    """ "Drained: it gets no new tasks"; what is there already may stay."""
    old: Placement | None = rule.desired.placements.get(write.task)
    runs = next((copy.agent for copy in write.copies if copy.intent == "run"), None)
    known = rule.desired.agents.get(runs)
    was_there = old is not None and any(copy.agent == runs for copy in old.copies)
    if runs is None or known is None or not known.drained:
        return
    if was_there or rule.actual.report(runs, write.task) is not None:
        return
    yield Violation("a drained agent gets nothing", f"{write.task} is placed on {runs}", (write.task, runs))


def is_overdue(agent: Agent, now: float) -> bool:
    """Whether the time that its operator gave a drained agent is over."""
    at = agent.drain.deadline_at if agent.drain is not None else None
    return at is not None and now >= at


def is_rebalanced(rule: Any, old: Placement) -> bool:
    """Whether a rebalance moves this task away from where it is."""
    row = rule.desired.under_way
    return row is not None and any((move.task, move.source) == (old.task, old.running) for move in row.moves)


def _moved_from(rule: Any, write: WritePlacement) -> Agent | None:
    """The agent that this write moves a task away from, since it is drained or by a rebalance."""
    old: Placement | None = rule.desired.placements.get(write.task)
    was = old.running if old is not None else None
    agent: Agent | None = rule.desired.agents.get(was)
    stays = any(copy.intent == "run" for copy in write.copies)
    drains = agent is not None and agent.drain is not None and agent.lost_since is None
    if (
        old is None
        or agent is None
        or not (drains or is_rebalanced(rule, old))
        or stays
        or not rule.desired.wanted(write.task)
    ):
        return None
    return None if given_up(rule.actual.report(agent.name, write.task), old) else agent


def _stays(write: WritePlacement | None) -> bool:
    return write is None or any(copy.intent == "run" for copy in write.copies)


def _has_ended(rule: Any, task: str) -> bool:
    """As its policy lets it, with whatever status."""
    row: Placement | None = rule.desired.placements.get(task)
    report = rule.actual.report(row.running, task) if row is not None and row.running else None
    if report is None or report.phase is not Phase.ENDED or report.instance is None:
        return False
    ended, policy = report.instance.process_state.container_exit_status, report.instance.config.restart
    failed = ended.signaled or ended.exit_status != 0
    lets = policy == "no" or (policy == "on-failure" and not failed)
    return report.instance.status == FINISHED and lets
