"""Durations as Go writes and reads them: "250ms", "1.5s", "1h0m0s".

The wire format (v0) carries every duration as such a string, and the job hash is taken over
Go's own spelling, so both directions follow `time.ParseDuration` and `Duration.String` exactly.
"""

from __future__ import annotations

import re
from functools import lru_cache, total_ordering

from config.bounds import LONGEST_DURATION as _LONGEST_TEXT

_UNITS_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_LARGEST_NANOSECONDS = 2**63 - 1
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")


@total_ordering
class Duration:
    """A length of time, in nanoseconds; `str()` is Go's spelling of it.

    Not a dataclass: msgspec would read those as JSON objects, and a duration is a string there.
    """

    __slots__ = ("nanoseconds",)

    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.nanoseconds == other.nanoseconds

    def __lt__(self, other: Duration) -> bool:
        return self.nanoseconds < other.nanoseconds

    def __hash__(self) -> int:
        return hash(self.nanoseconds)

    def __repr__(self) -> str:
        return f"Duration({str(self)!r})"

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Read Go's spelling. Raises ValueError that names the text and what would be right."""
        return _parse(text)

    @property
    def seconds(self) -> float:
        """The same length in seconds."""
        return self.nanoseconds / 1e9

    def __str__(self) -> str:
        return _spelled(self.nanoseconds)


@lru_cache(maxsize=4096)
def _spelled(nanoseconds: int) -> str:
    """Every config of every job repeats the same few durations."""
    sign = "-" if nanoseconds < 0 else ""
    size = abs(nanoseconds)
    if size == 0:
        return "0s"
    if size < 1_000_000_000:
        for unit in ("ms", "µs", "ns"):
            if size >= _UNITS_NANOSECONDS[unit]:
                return sign + _fraction(size, _UNITS_NANOSECONDS[unit]) + unit
    minutes, rest = divmod(size, _UNITS_NANOSECONDS["m"])
    hours, minutes = divmod(minutes, 60)
    spelled = _fraction(rest, _UNITS_NANOSECONDS["s"]) + "s"
    if hours:
        return f"{sign}{hours}h{minutes}m{spelled}"
    return f"{sign}{minutes}m{spelled}" if minutes else sign + spelled


def _fraction(size: int, unit: int) -> str:
    """`size / unit` in decimals, exactly, without trailing zeros."""
    whole, rest = divmod(size, unit)
    if rest == 0:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{rest:0{digits}d}".rstrip("0")


@lru_cache(maxsize=4096)
def _parse(text: str) -> Duration:
    """Every event of every container repeats the same few texts."""
    complaint = f'"{text[:_LONGEST_TEXT]}" is not a duration; write it like "250ms", "1.5s" or "1m30s"'
    if len(text) > _LONGEST_TEXT:
        raise ValueError(complaint)
    unsigned = text[1:] if text[:1] in ("-", "+") else text
    if unsigned == "0":
        return Duration(0)
    total, position = 0, 0
    while position < len(unsigned):
        part = _PART.match(unsigned, position)
        if part is None or not (part[1] or part[2]):
            raise ValueError(complaint)
        unit = _UNITS_NANOSECONDS[part[3]]
        total += int(part[1] or 0) * unit
        if part[2]:
            # Go multiplies the fraction in floating point and cuts; so do we.
            total += int(float(int(part[2])) * (float(unit) / float(10 ** len(part[2]))))
        position = part.end()
    if position == 0 or total > _LARGEST_NANOSECONDS:
        raise ValueError(complaint)
    return Duration(-total if text[0] == "-" else total)
