"""The command lease: never do two state machines command one agent.

The shepherd grants its current flocks the right to command, for a short time; a flock hands it on to its
state machines, which send requests to agents only while it holds. Whoever is cut off gets no more of it and
falls silent; whoever takes the place of one that is not proven dead is granted nothing before the
predecessor's lease has run out, with a margin. Reads (the event stream, probes) need no lease.

Times are seconds on a clock that counts a sleeping host's sleep, too. Each side uses only its own: nothing
is compared across hosts.
"""

from __future__ import annotations

from collections.abc import Iterable

# How long a lease lasts, from when it was asked for: a grant that comes late is not a longer one.
LEASE_SECONDS = 5.0
# Who needs it renews it when it is this old, and so misses two renewals before it has to be silent.
RENEW_AFTER_SECONDS = 1.5
# A question that brought no answer is asked again after this time.
ASK_AGAIN_SECONDS = 1.0
# A successor waits this long after the last grant to a predecessor that may be alive: longer than a lease, so
# that neither clocks that differ in speed nor a request that is just being sent matter.
SUCCESSION_SECONDS = 10.0
NEVER = float("-inf")


class Lease:
    """The holder's side: until when we may command."""

    def __init__(self) -> None:
        self.until = NEVER
        self._asked_at = NEVER

    @property
    def granted_at(self) -> float:
        """When what was granted last was asked for."""
        return self.until - LEASE_SECONDS

    def valid(self, now: float) -> bool:
        """Whether we may command now."""
        return now < self.until

    def asks(self, now: float) -> bool:
        """Whether to ask for it now, because it runs out or is not there; if so, that counts as done."""
        fresh = now < self.until - LEASE_SECONDS + RENEW_AFTER_SECONDS
        if fresh or now < self._asked_at + ASK_AGAIN_SECONDS:
            return False
        self._asked_at = now
        return True

    def granted(self, asked_at: float) -> None:
        """What was asked for then is granted: it counts from then, however late the answer comes."""
        self.extend(asked_at + LEASE_SECONDS)

    def extend(self, until: float) -> None:
        """Whoever we have it from holds it until then; older news changes nothing."""
        self.until = max(self.until, until)


class Succession:
    """The granter's side: from when on the present holder of each name may be granted a lease.

    At once where there was no predecessor, or where it is proven dead, or has not been granted anything
    for long; otherwise once its last lease has run out for certain.
    """

    def __init__(self) -> None:
        self._granted_at: dict[str, float] = {}
        self._opens_at: dict[str, float] = {}
        self._all_open_at = NEVER

    def close_all(self, now: float) -> None:
        """Somebody unknown may have granted leases until now: nobody gets one before those are over."""
        self._all_open_at = now + SUCCESSION_SECONDS

    def opens_at(self, name: str) -> float:
        """When the present holder of a name may be granted a lease: in the past, if now."""
        return max(self._all_open_at, self._opens_at.get(name, NEVER))

    def may_grant(self, name: str, now: float) -> bool:
        """Whether the present holder of a name may be granted a lease."""
        return now >= self.opens_at(name)

    def granted(self, name: str, now: float) -> None:
        """Its present holder has been granted a lease that was asked for at `now` at the latest."""
        self._granted_at[name] = now

    def ended(self, name: str, *, proven: bool) -> None:
        """Its holder has been given up; `proven`: it is certain that it does nothing any more.

        A proof is about this holder only: an earlier one that may be alive is still waited for.
        """
        if not proven:
            self.close(name, self.over_at(name))
        self._granted_at.pop(name, None)

    def over_at(self, name: str) -> float:
        """When all that its holders have been granted until now is over for certain."""
        return max(self.opens_at(name), self._granted_at.get(name, NEVER) + SUCCESSION_SECONDS)

    def close(self, name: str, until: float) -> None:
        """Nobody is granted this name before then."""
        if until > self.opens_at(name):
            self._opens_at[name] = until

    def waits(self, names: Iterable[str], now: float) -> dict[str, float]:
        """In how many seconds each of these names opens; those that are open are left out."""
        return {name: self.opens_at(name) - now for name in names if not self.may_grant(name, now)}

    def tidy(self, now: float) -> None:
        """Forget what has no meaning any more."""
        self._opens_at = {name: at for name, at in self._opens_at.items() if at > now}
