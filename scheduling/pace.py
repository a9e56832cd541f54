"""How long a state machine with requests under way waits for what comes next before it reports.

A report, a message, costs as much as several requests. So while an agent answers, everything is gathered; and
as it answers the slower the more is asked of all agents at once, the pause that ends a round grows with it.
An agent that answers at once is reported on at once, since then nothing is under way any more.

Times are seconds, given.
"""

from __future__ import annotations

from config.bounds import LONGEST_ROUND_PAUSE_SECONDS

# The pause after which a round ends although something is under way, at least.
USUAL_PAUSE_SECONDS = 0.03
# So many times the longest of the recent waits; of which each that was shorter takes off so much.
_TIMES = 3.0
_FADES = 0.1


class Pace:
    """Told whenever something was heard."""

    def __init__(self) -> None:
        self._heard_at = 0.0
        self._busy = False
        self._wait_seconds = 0.0

    def heard(self, now: float, *, busy: bool) -> None:
        """Something has come, or been sent; `busy`: more of it is expected."""
        if self._busy:
            waited = min(now - self._heard_at, LONGEST_ROUND_PAUSE_SECONDS / _TIMES)
            self._wait_seconds = max(waited, self._wait_seconds + _FADES * (waited - self._wait_seconds))
        self._heard_at, self._busy = now, busy

    @property
    def pause_seconds(self) -> float:
        """How long to wait for what comes next."""
        return max(USUAL_PAUSE_SECONDS, _TIMES * self._wait_seconds)
