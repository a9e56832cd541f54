"""What a job demands of the agents it runs on: `zone = eu1`, `kernel >= 6.1`, `rack in a, b`, `host ~ ^gpu`.

A constraint names a label or an attribute of an agent. A label that an operator gave goes before an
attribute that the agent reports. Versions are compared number by number: 6.10 is newer than 6.9.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from config.bounds import MOST_REPEATS

_SHAPE = re.compile(
    r"\s*([A-Za-z0-9_][A-Za-z0-9_./-]{0,99})\s*(!=|>=|<=|=|>|<|~|\bin\b)\s*(.+?)\s*", re.DOTALL
)
_REPEATED_GROUP = re.compile(r"\)\s*[*+{?]")
_REPEATS = re.compile(r"[*+{]")
_NUMBERS = re.compile(r"\d+")
LIKE = '"zone = eu1", "kernel >= 6.1", "rack in a, b" or "host ~ ^gpu"'


class Constraint(msgspec.Struct, frozen=True):
    """One demand: a name, an operator, and a value."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {self.value}"

    def miss(self, attributes: Mapping[str, str]) -> str:
        """Why an agent with these labels and attributes does not meet it; empty if it does."""
        found = attributes.get(self.name)
        if found is None:
            # What is not there is not this value either.
            return "" if self.operator == "!=" else f"has no {self.name}; it must be {self._right()}"
        return (
            ""
            if _CHECKS[self.operator](found, self.value)
            else (f"{self.name} is {found}; it must be {self._right()}")
        )

    def _right(self) -> str:
        words = {"=": "", "!=": "other than ", "~": "like ", "in": "one of "}
        return f"{words.get(self.operator, self.operator + ' ')}{self.value}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Constraint:
    """Read a constraint. Raises ValueError that says what is wrong and what would be right."""
    match = _SHAPE.fullmatch(text)
    if match is None or not text.isprintable():
        raise ValueError(f"it must be NAME OPERATOR VALUE, like {LIKE}")
    constraint = Constraint(match[1], match[2], match[3])
    if constraint.operator == "~":
        try:
            re.compile(constraint.value)
        except re.error as error:
            raise ValueError(f"its pattern is no regular expression: {error}") from None
        if _REPEATED_GROUP.search(constraint.value) or len(_REPEATS.findall(constraint.value)) > MOST_REPEATS:
            # Such patterns can take for ever, and all jobs would wait for that.
            raise ValueError(f"its pattern may repeat no groups, and at most {MOST_REPEATS} other things")
    elif constraint.operator in _ORDERS and not _NUMBERS.search(constraint.value):
        raise ValueError(
            f"{constraint.operator} compares versions, like 6.1; {constraint.value!r} has no number"
        )
    return constraint


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version, as they are compared; of "6.1.0-13-amd64" the first run: 6, 1, 0."""
    head = re.match(r"\D*(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in head[1].split(".")) if head else ()


def _ordered(found: str, value: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    left, right = version(found), version(value)
    length = max(len(left), len(right))
    return left + (0,) * (length - len(left)), right + (0,) * (length - len(right))


def _one_of(found: str, value: str) -> bool:
    return found in {part.strip() for part in value.split(",")}


def _newer(found: str, value: str) -> bool:
    left, right = _ordered(found, value)
    return bool(version(found)) and left > right


def _same(found: str, value: str) -> bool:
    left, right = _ordered(found, value)
    return bool(version(found)) and left == right


def _older(found: str, value: str) -> bool:
    left, right = _ordered(found, value)
    return bool(version(found)) and left < right


_ORDERS = (">", ">=", "<", "<=")
_CHECKS: dict[str, Any] = {
    "=": lambda found, value: found == value,
    "!=": lambda found, value: found != value,
    "in": _one_of,
    "~": lambda found, value: re.search(value, found) is not None,
    ">": _newer,
    ">=": lambda found, value: _newer(found, value) or _same(found, value),
    "<": _older,
    "<=": lambda found, value: _older(found, value) or _same(found, value),
}
