"""Whether the steps of migrations follow from what their scheduler knows: floor and ceiling, counted anew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scheduling.container import FINISHED
from scheduling.job import task_id, task_index
from scheduling.lifecycle import Phase
from scheduling.migration import Migration, State
from simulation.facts import Violation


def judge_step(rule: Any, after: Migration) -> Iterator[Violation]:
    """ "A stop is sent only if (proven running − stops in flight − 1) ≥ floor, with stale counted as down; a
    start only if (rows with intent run or not proven absent, stale counted as up) + 1 ≤ ceiling"."""
    before = rule.desired.migrations.get(after.id)
    if before is None or before.over:
        return
    sides = [
        (prefix, set(before.wanted(prefix)), set(after.wanted(prefix))) for prefix in (after.old, after.new)
    ]
    stopped = [task_id(prefix, index) for prefix, was, now in sides for index in was - now]
    started = [task_id(prefix, index) for prefix, was, now in sides for index in now - was]
    kept = [task_id(prefix, index) for prefix, _, now in sides for index in now]
    running = sum(stands(rule, task) == "running" or is_done(rule, task) for task in kept)
    taken = [task for task in stopped if stands(rule, task) != "down"]
    if taken and running < after.limits.floor:
        text = f"{', '.join(taken)} is stopped; {running} are left, the floor is {after.limits.floor}"
        yield Violation("the floor is kept", text, tuple(taken))
    there = {
        task
        for prefix, _, _ in sides
        for task in rule.desired.by_prefix.get(prefix, ())
        if _may_be(rule, task)
    }
    if started and len(there | set(kept)) > after.limits.ceiling:
        count = len(there | set(kept))
        text = f"{started} is started; then {count} may run, of {after.limits.ceiling}"
        yield Violation("the ceiling is kept", text, tuple(started))
    for prefix, _, now in sides:
        job = rule.desired.jobs[prefix]
        if any(index not in job.members for index in now):
            yield Violation("tasks of a migration exist", f"{prefix} has no {sorted(now)}", (prefix,))


def judge_steered(before: Migration | None, after: Migration, steered: bool) -> Iterator[Violation]:
    """ "What was accepted is kept": only its operator takes back a pause, and nobody an abort."""
    if before is None or before.over or steered:
        return
    if before.paused and not after.paused:
        yield Violation("what was accepted is kept", f"the pause of {after.id} is forgotten", (after.old,))
    if before.state is State.REVERTING and after.state in (State.RUNNING, State.FAILED):
        yield Violation("what was accepted is kept", f"the way back of {after.id} is forgotten", (after.old,))


def judge_end(before: Migration | None, after: Migration, desired: Any) -> Iterator[Violation]:
    """ "Ends in exactly the new or exactly the old version": judged when the end is written."""
    ends = {"done": (after.new, after.old), "reverted": (after.old, after.new)}.get(after.state.value)
    if ends is None or (before is not None and before.over):
        return
    stays, leaves = ends
    if stays not in desired.jobs or leaves in desired.jobs:
        left = [prefix for prefix in ends if prefix in desired.jobs]
        text = f"{after.id} is {after.state}, and there is {left}; {stays} should be, {leaves} not"
        yield Violation("a migration ends in one version", text, (stays, leaves))


def stands(rule: Any, task: str) -> str:
    """running, down, or unknown, by what the scheduler has heard."""
    row = rule.desired.placements.get(task)
    agent = row.running if row is not None else None
    if agent is None or not _holds(rule, agent):
        return "down"
    status = rule.actual.agents.get(agent)
    if status is None or status.link != "connected" or not status.answered:
        return "unknown"
    report = rule.actual.report(agent, task)
    up = (
        report is not None
        and report.phase is Phase.RUNNING
        and report.instance is not None
        and not report.instance.process_state.restarting
    )
    return "running" if up and report.goal != "stop" else "down"


def is_done(rule: Any, task: str) -> bool:
    """Whether it has ended by itself, well and for good: that counts as running."""
    row = rule.desired.placements.get(task)
    agent = row.running if row is not None else None
    report = rule.actual.report(agent, task) if agent is not None else None
    if agent is None or report is None or report.phase is not Phase.ENDED:
        return False
    if report.instance is None or not _holds(rule, agent):
        return False
    ended = report.instance.process_state.container_exit_status
    failed = ended.signaled or ended.exit_status != 0
    policy = report.instance.config.restart
    return report.instance.status == FINISHED and not failed and policy != "always"


def _may_be(rule: Any, task: str) -> bool:
    row = rule.desired.placements[task]
    return task_index(task) >= 0 and any(_holds(rule, copy.agent) for copy in row.copies)


def _holds(rule: Any, agent: str) -> bool:
    known = rule.desired.agents.get(agent)
    return known is not None and known.lost_since is None
