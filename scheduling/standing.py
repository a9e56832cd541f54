"""How the tasks of one version stand: which are there, proven to run, proven down, healthy, failed.

A join of the desired and the actual state for whoever must not stop too many or start too many.
"""

from __future__ import annotations

import msgspec

from config.bounds import MOST_FAILURES, MOST_RESTARTS
from scheduling.actual import Actual, ContainerReport
from scheduling.container import FAILED, FINISHED, ContainerInstance, ProcessState
from scheduling.desired import Desired, Placement
from scheduling.failures import Failures, ended_for_good, how_it_ended, its_last_lines
from scheduling.job import task_id, task_index
from scheduling.lifecycle import Phase
from scheduling.lost import is_connected
from scheduling.migration import Standing


class _Run(msgspec.Struct, frozen=True):
    """One uninterrupted run of a task: where, in which life, and since when it is seen."""

    agent: str
    restarts: int
    since: float


class Health:
    """Since when tasks run without a restart. Kept in memory: a new scheduler lets them prove it again."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        # By task: where, since when restarts count, and how many there were by then.
        self._bases: dict[str, tuple[str, float, int]] = {}
        # By task: how it ended last.
        self._ends: dict[str, str] = {}

    def restarts_since(self, task: str, agent: str, restarts: int, since: float, *, all_count: bool) -> int:
        """How often a task was restarted since then; `all_count`: all its restarts were since then."""
        base = self._bases.get(task)
        if base is None or base[:2] != (agent, since):
            base = self._bases[task] = (agent, since, 0 if all_count else restarts)
        return max(0, restarts - base[2])

    def ran_for(self, task: str, agent: str, process: ProcessState, now: float) -> float:
        """For how many seconds a task that runs now has been seen running in this life."""
        run = self._runs.get(task)
        if run is None or (run.agent, run.restarts) != (agent, process.restarts):
            run = self._runs[task] = _Run(agent, process.restarts, now)
        return now - run.since

    def ended(self, task: str, instance: ContainerInstance) -> str:
        """How a task that is restarted again and again ended last.

        Its agent tells that only until it runs again, which may be before it was restarted too often.
        """
        if not instance.process_state.up or task not in self._ends:
            self._ends[task] = how_it_ended(instance)
        return self._ends[task]

    def forget(self, task: str) -> None:
        """It does not run."""
        self._runs.pop(task, None)

    def forget_all_but(self, tasks: set[str]) -> None:
        """Only these are still of interest."""
        self._runs = {task: run for task, run in self._runs.items() if task in tasks}
        self._bases = {task: base for task, base in self._bases.items() if task in tasks}
        self._ends = {task: end for task, end in self._ends.items() if task in tasks}


def standing(
    prefix: str,
    wanted: tuple[int, ...],
    desired: Desired,
    actual: Actual,
    health: Health,
    *,
    min_healthy_seconds: float,
    now: float,
) -> Standing:
    """How the tasks of a version stand, those `wanted` and those with a row. Failures are told apart."""
    there, running, down, healthy = set(), set(), set(), set()
    rows = {task_index(task): desired.placements[task] for task in desired.by_prefix.get(prefix, ())}
    unheard = _may_run_anywhere(prefix, desired, actual)
    for index in {*rows, *wanted}:
        task = task_id(prefix, index)
        row = rows.get(index)
        if row is None and (unheard or _is_somewhere(task, actual)):
            continue  # who knows: not everybody was asked yet, or it is just being adopted
        if row is not None and any(_may_be_there(desired, copy.agent) for copy in row.copies):
            there.add(index)
        report = _report(row, actual) if row is not None else None
        agent = row.running if row is not None else None
        if agent is None or not _may_be_there(desired, agent):
            down.add(index)
        elif not is_connected(actual, agent):
            continue  # who knows
        elif ended_well(report):
            down.add(index)
            healthy.add(index)  # it was meant to end, and is done
        elif (
            report is None
            or report.phase is not Phase.RUNNING
            or report.goal == "stop"
            or (report.instance is not None and report.instance.process_state.restarting)
        ):
            down.add(index)
        elif report.instance is not None:
            running.add(index)
            ran_seconds = health.ran_for(task, agent, report.instance.process_state, now)
            if ran_seconds >= min_healthy_seconds and report.instance.well:
                healthy.add(index)
            continue
        health.forget(task)
    return Standing(
        there=frozenset(there),
        running=frozenset(running),
        down=frozenset(down),
        healthy=frozenset(healthy),
    )


def ended_well(report: ContainerReport | None) -> bool:
    """Whether a task has ended as it was meant to: by itself, with status 0, and for good."""
    if report is None or report.instance is None or not ended_for_good(report):
        return False
    ended = report.instance.process_state.container_exit_status
    return not ended.signaled and not ended.exit_status


def failing(
    prefix: str,
    wanted: tuple[int, ...],
    desired: Desired,
    actual: Actual,
    failures: Failures,
    health: Health,
    since: float,
    *,
    resumed: bool = False,
) -> dict[int, str]:
    """Which of these tasks of a version, wanted and not healthy, can't run, and why.

    By what happened since then; `resumed`: it was tried before that, too.
    """
    found = {}
    for index in wanted:
        task = task_id(prefix, index)
        failure = failures.of(task)
        row = desired.placements.get(task)
        report = _report(row, actual) if row is not None else None
        if failure is not None and failure.count >= MOST_FAILURES and failure.at >= since:
            found[index] = f"{task} failed {failure.count} times, last on {failure.agent}: {failure.reason}"
        elif (
            report is not None
            and report.phase is Phase.ENDED
            and report.instance is not None
            and row is not None
            and not ended_well(report)
            and report.instance.config.restart == "no"
        ):
            # Nobody starts it again: it was its one try.
            found[index] = f"{task} ended on {report.agent}: {how_it_ended(report.instance)}"
        elif report is not None and report.instance is not None and report.goal == "run":
            process = report.instance.process_state
            restarts = health.restarts_since(
                task, report.agent, process.restarts, since, all_count=not resumed
            )
            ended = health.ended(task, report.instance) if process.restarts else ""
            if restarts >= MOST_RESTARTS and report.instance.status not in (FINISHED, FAILED):
                found[index] = f"{task} was restarted {restarts} times on {report.agent}: {ended}"
    return found


def obstacle(
    prefix: str, wanted: tuple[int, ...], desired: Desired, actual: Actual, failures: Failures
) -> str:
    """What keeps these tasks from being healthy, as far as it is seen, for the first that tells anything."""
    for index in wanted:
        task = task_id(prefix, index)
        failure, row = failures.of(task), desired.placements.get(task)
        report = _report(row, actual) if row is not None else None
        if failure is not None:
            return f"{task} failed on {failure.agent}: {failure.reason}"
        if report is None:
            continue
        if report.error:
            return f"{task} on {report.agent}: {report.error}"
        found = report.instance is not None and _what_is_wrong(report.instance)
        if found:
            return f"{task} {found[0]} on {report.agent}: {found[1]}"
        if report.phase is not Phase.RUNNING:
            return f"{task} is {report.phase.value} on {report.agent}"
    return ""


def _what_is_wrong(instance: ContainerInstance) -> tuple[str, str] | None:
    """What a container does that is not what it was started for, and how that is known."""
    restarts, told = instance.process_state.restarts, instance.health
    if told is not None and told.last and not instance.well:
        return f"is {told.state}", f"{told.last}{its_last_lines(instance)}"
    if restarts:
        return f"was restarted {restarts} times", how_it_ended(instance)
    if told is not None and not instance.well:
        return f"is {told.state}", "not all of its health checks have passed"
    return None


def _report(row: Placement, actual: Actual) -> ContainerReport | None:
    return actual.report(row.running, row.task) if row.running is not None else None


def _is_somewhere(task: str, actual: Actual) -> bool:
    reports = (actual.report(name, task) for name in actual.by_task.get(task, ()))
    return any(report is not None and report.phase is not Phase.ABSENT for report in reports)


def _may_run_anywhere(prefix: str, desired: Desired, actual: Actual) -> bool:
    """Whether tasks of an imported version may run where nobody has looked yet."""
    job = desired.jobs.get(prefix)
    if job is None or not job.adopt:
        return False
    asked = [name for name in desired.agents if _may_be_there(desired, name)]
    return not asked or not all(map(actual.answered, asked))


def _may_be_there(desired: Desired, name: str) -> bool:
    agent = desired.agents.get(name)
    return agent is not None and agent.lost_since is None
