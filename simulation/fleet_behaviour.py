"""How the fleet's agents behave: how long things take, and how often they go wrong.

Both are written as `NAME=VALUE,…` on the command line, so that a plan for capacity fits on one line.
"""

from __future__ import annotations

from random import Random

import msgspec

from scheduling.durations import Duration


class BehaviourError(ValueError):
    """A delay or failure is written wrongly; the text says which, and what would be right."""


class Range(msgspec.Struct, frozen=True):
    """Seconds from `low` to `high`, evenly."""

    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: Random) -> float:
        """One of them."""
        return self.low if self.low == self.high else rng.uniform(self.low, self.high)


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """How long each takes: `create` to unpack the artifact, `start`, `stop` and `delete` from the request
    to the event that proves it, `restart` from a death to the next start, `reply` before any answer."""

    create: Range = Range()
    start: Range = Range()
    stop: Range = Range()
    delete: Range = Range()
    restart: Range = Range(1.0, 1.0)
    reply: Range = Range()


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong. Shares of requests, 0 to 1: `create` (the artifact can't be had), `start` (the
    task can't be started), `refuse` (answered 500), `hang_up` (closed without an answer and not done).
    Times a minute: `die` for each running task, `disconnect` for each agent's event streams."""

    create: float = 0.0
    start: float = 0.0
    refuse: float = 0.0
    hang_up: float = 0.0
    die: float = 0.0
    disconnect: float = 0.0


_A_MINUTE = ("die", "disconnect")


def parse_delays(text: str) -> Delays:
    """`create=200ms..2s,start=100ms`; a lone duration is that of create, start and stop.

    Raises BehaviourError.
    """
    if text and "=" not in text:
        span = _range(text)
        return Delays(create=span, start=span, stop=span)
    return Delays(
        **{name: _range(value) for name, value in _pairs(text, Delays.__struct_fields__, "delay").items()}
    )


def parse_failures(text: str) -> Failures:
    """`start=0.01,die=0.05`. Raises BehaviourError."""
    values = {}
    for name, value in _pairs(text, Failures.__struct_fields__, "failure").items():
        try:
            values[name] = float(value)
        except ValueError:
            values[name] = -1.0
        if not 0.0 <= values[name] <= (60.0 if name in _A_MINUTE else 1.0):
            right = "a rate a minute, 0 to 60" if name in _A_MINUTE else "a share, 0 to 1"
            raise BehaviourError(f'the failure {name}="{value}" must be {right}')
    return Failures(**values)


def _pairs(text: str, names: tuple[str, ...], what: str) -> dict[str, str]:
    found = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name not in names:
            raise BehaviourError(f'there is no {what} "{name}"; there are {", ".join(names)}')
        found[name] = value
    return found


def _range(text: str) -> Range:
    low, _, high = text.partition("..")
    try:
        span = Range(Duration.parse(low).seconds, Duration.parse(high or low).seconds)
    except ValueError as error:
        raise BehaviourError(str(error)) from None
    if not 0.0 <= span.low <= span.high:
        raise BehaviourError(f'"{text}" is no range of durations; write 500ms or 200ms..2s')
    return span
