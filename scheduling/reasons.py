"""Why the tasks of a version wait, in words; that they fit nowhere is said by `placement.explain`."""

from __future__ import annotations

from datetime import UTC, datetime

from config.bounds import MOST_NAMED_AGENTS
from scheduling.failures import Failure
from scheduling.waiting import Waiting


def unheard(prefix: str, tasks: int, agents: list[str]) -> Waiting | None:
    """Some agents may hold the tasks and were not heard yet."""
    if not agents:
        return None
    names = ", ".join(agents[:MOST_NAMED_AGENTS]) + (", …" if len(agents) > MOST_NAMED_AGENTS else "")
    verb = "has" if len(agents) == 1 else "have"
    reason = f"{names} may hold it and {verb} not answered yet"
    return Waiting(prefix=prefix, tasks=tasks, reason=reason, agents=len(agents))


def depending(prefix: str, tasks: int, unmet: list[str]) -> Waiting | None:
    """What the job depends on does not run yet."""
    if not unmet:
        return None
    return Waiting(
        prefix=prefix, tasks=tasks, reason=f"it depends on what does not run yet: {'; '.join(unmet)}"
    )


def pausing(prefix: str, tasks: int, failures: list[Failure]) -> Waiting | None:
    """All of them have failed, and are tried again later."""
    if not failures:
        return None
    worst = max(failures, key=lambda failure: failure.count)
    times = "once" if worst.count == 1 else f"{worst.count} times in a row"
    at = datetime.fromtimestamp(worst.next_at, UTC).strftime("%H:%M:%S UTC")
    reason = f"it failed {times}, last on {worst.agent}: {worst.reason}; tried again at {at}"
    return Waiting(prefix=prefix, tasks=tasks, reason=reason)
