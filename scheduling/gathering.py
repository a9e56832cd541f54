"""How long large jobs wait for others that come with them, before the scheduler looks at them.

Who has many large jobs asks for one after the other. Placed one by one they come to the agents' state
machines in as many rounds, and a round costs far more than a command in it. So a change of many tasks waits
until no other job has come for a moment; a small one never does.

Times are seconds, given.
"""

from __future__ import annotations

from config.bounds import LONGEST_GATHERING_SECONDS

# So many tasks touched are many: to place them takes longer than the pause.
MANY_TASKS = 500
# No other job for so long: they are all there.
PAUSE_SECONDS = 0.03


class Gathering:
    """Told whenever a job has changed."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._came_at = 0.0

    def came(self, now: float) -> None:
        """A job has changed."""
        if self._began_at is None:
            self._began_at = now
        self._came_at = now

    def left_seconds(self, touched: int, now: float) -> float:
        """For how long to wait for more, with so many tasks touched; 0.0 for no longer."""
        if self._began_at is None or touched < MANY_TASKS:
            return 0.0
        over_at = min(self._came_at + PAUSE_SECONDS, self._began_at + LONGEST_GATHERING_SECONDS)
        return max(over_at - now, 0.0)

    def over(self) -> None:
        """What has come is being looked at."""
        self._began_at = None
