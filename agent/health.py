"""How a task's health checks stand: a pure rule, told what each check found and when.

A task is *starting* until each of its checks has passed once, *unhealthy* from when one of them has failed
`unhealthy_after` times in a row until that one passes again, and *healthy* else. As in Kubernetes and Nomad,
a check only says so; a restart has to be asked for: that is what the kind "liveness" is.
"""

from __future__ import annotations

from collections.abc import Sequence

from config.bounds import LONGEST_HEALTH_TEXT as _LONGEST_TEXT
from scheduling.container import HEALTHY, STARTING, UNHEALTHY, TaskHealth
from scheduling.job import LIVENESS, HealthCheck

DEFAULT_UNHEALTHY_AFTER = 3


class Checks:
    """The checks of one run of a task. Times are Unix seconds, given."""

    def __init__(self, checks: Sequence[HealthCheck], unhealthy_after: int, now: float) -> None:
        self._checks = checks
        self._unhealthy_after = unhealthy_after or DEFAULT_UNHEALTHY_AFTER
        self._passed = [False] * len(checks)
        self._failures = [0] * len(checks)
        self.health = TaskHealth(state=STARTING, since=now)

    def note(self, position: int, problem: str, now: float) -> bool:
        """Take in what a check found, "" if it passed; says whether `health` is another one now.

        Failures are counted no further than they matter, so that a task that stays ill is told of once.
        """
        problem = problem[:_LONGEST_TEXT]
        if problem:
            self._failures[position] = min(self._failures[position] + 1, self._unhealthy_after)
        else:
            self._passed[position], self._failures[position] = True, 0
        before, state = self.health, self._state()
        failures = max(self._failures)
        self.health = TaskHealth(
            state=state,
            since=before.since if state == before.state else now,
            failures=failures,
            last=(problem or before.last) if failures else "",
        )
        return self.health != before

    def fatal(self, position: int) -> bool:
        """Whether a task has to be restarted for this check."""
        failed = self._failures[position] >= self._unhealthy_after
        return failed and self._checks[position].kind == LIVENESS

    def _state(self) -> str:
        if max(self._failures) >= self._unhealthy_after:
            return UNHEALTHY
        return HEALTHY if all(self._passed) else STARTING
