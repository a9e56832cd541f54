"""Which state machines of a flock are busy with commands, and so which ones get theirs now.

Who is busy takes what comes meanwhile in one message, once it has said what became of the last ones. And
only so many are busy at a time: commanded all at once they would keep each other from the CPU, so that each
takes in less at a time and reports more often. Times are seconds, given.
"""

from __future__ import annotations

from config.bounds import BUSY_MACHINES

# One that has not reported by then is waited for no longer: it hangs, or there was nothing to report.
BUSY_SECONDS = 0.6


class BusyMachines:
    """By agent, until when its state machine is taken to be busy."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def has_room(self, now: float) -> bool:
        """Whether another one may be commanded."""
        return len(self._until) < BUSY_MACHINES or len(self._busy(now)) < BUSY_MACHINES

    def is_busy(self, agent: str, now: float) -> bool:
        """Whether this one is at work on the last commands."""
        return now < self._until.get(agent, now)

    def commanded(self, agent: str, now: float) -> None:
        """It was sent commands."""
        self._until[agent] = now + BUSY_SECONDS

    def is_free(self, agent: str) -> None:
        """It has reported, has asked for more, or has ended."""
        self._until.pop(agent, None)

    def _busy(self, now: float) -> dict[str, float]:
        self._until = {agent: until for agent, until in self._until.items() if until > now}
        return self._until
