"""Tasks that can't run where they are: whether an agent has given one up, and when to try again.

The pause before the next try doubles with each failure in a row and is forgotten after a calm time, so a
crash loop is slow, and visible. Kept in memory only: a new scheduler begins with the first pause again.
"""

from __future__ import annotations

import msgspec

from config.bounds import FAILURE_LINES_SHOWN as LINES_SHOWN
from config.bounds import LONGEST_FAILURE_LINE as LONGEST_LINE
from config.bounds import LONGEST_FAILURE_PAUSE_SECONDS as LONGEST_PAUSE_SECONDS
from config.bounds import MOST_REFUSALS
from scheduling.actual import ContainerReport
from scheduling.container import FAILED, FINISHED, ContainerInstance
from scheduling.desired import Placement
from scheduling.lifecycle import Phase

FIRST_PAUSE_SECONDS = 5.0
# A failure this long after the one before is a first one.
CALM_SECONDS = 600.0


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """How often in a row a task has failed, where last, why, and when it may be tried again."""

    count: int
    agent: str
    generation: int
    reason: str
    at: float
    next_at: float


def given_up(report: ContainerReport | None, placement: Placement) -> str:
    """Why a task that should run can't run where it is; empty while it can, or has ended as it should."""
    if report is None or report.goal != "run" or report.generation != placement.generation:
        return ""
    if report.phase is Phase.ENDED and report.instance is not None:
        ended = report.instance.process_state.container_exit_status
        restart = report.instance.config.restart
        if report.instance.status == FAILED:
            return how_it_ended(report.instance)
        if report.instance.status != FINISHED or restart == "no":
            return ""
        if ended.signaled or ended.exit_status or restart == "always":
            return how_it_ended(report.instance)
    # Unclear, with nothing seen: the last refusal is not yet known to be true.
    nothing_there = report.phase is Phase.ABSENT or (
        report.phase is Phase.UNCLEAR and report.instance is None
    )
    if nothing_there and report.refusals >= MOST_REFUSALS:
        return report.error
    return ""


def ended_for_good(report: ContainerReport | None) -> bool:
    """Whether a task has ended as its policy lets it: nobody starts it again.

    Whatever was commanded last: after an outage of its agent that is nothing, for a while.
    """
    if report is None or report.phase is not Phase.ENDED or report.instance is None:
        return False
    ended, restart = report.instance.process_state.container_exit_status, report.instance.config.restart
    well = not ended.signaled and not ended.exit_status
    return report.instance.status == FINISHED and (restart == "no" or (restart == "on-failure" and well))


def how_it_ended(instance: ContainerInstance) -> str:
    """How the last process of a container ended, with the end of its log where the agent tells it."""
    state = instance.process_state
    ended = state.container_exit_status
    if state.up:
        text = "it does not stay up"
    elif instance.status == FAILED and not ended.signaled:
        text = state.err or "it could not be started"
    else:
        how = f"by signal {ended.signal}" if ended.signaled else f"with status {ended.exit_status}"
        text = f"it ended {how}"
        text += f" ({state.err[:LONGEST_LINE]})" if state.err else ""
    return text + its_last_lines(instance)


def its_last_lines(instance: ContainerInstance) -> str:
    """The end of a container's log, to follow a sentence; empty where its agent tells none."""
    lines = [line.strip()[:LONGEST_LINE] for line in instance.last_lines[-LINES_SHOWN:]]
    return f"; its last lines: {' | '.join(lines)}" if lines else ""


class Failures:
    """The failures of all tasks. Times are seconds, given."""

    def __init__(self) -> None:
        self._of: dict[str, Failure] = {}

    def note(self, placement: Placement, agent: str, reason: str, now: float) -> None:
        """A task was given up by its agent; the same one twice counts once."""
        old = self._of.get(placement.task)
        if old is not None and old.generation == placement.generation:
            return
        count = old.count + 1 if old is not None and now - old.at < CALM_SECONDS else 1
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(count - 1, 10))
        self._of[placement.task] = Failure(
            count=count,
            agent=agent,
            generation=placement.generation,
            reason=reason,
            at=now,
            next_at=now + pause,
        )

    def of(self, task: str) -> Failure | None:
        """The failures of one task, if it has any."""
        return self._of.get(task)

    def pauses(self, task: str, now: float) -> bool:
        """Whether this task must wait before it is tried again."""
        failure = self._of.get(task)
        return failure is not None and now < failure.next_at

    def due(self, before: float, now: float) -> list[str]:
        """The tasks whose pause has ended in this time."""
        return [task for task, failure in self._of.items() if before < failure.next_at <= now]

    def forget(self, task: str) -> None:
        """The task is not wanted any more."""
        self._of.pop(task, None)
