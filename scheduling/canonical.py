"""JSON exactly as Go's `encoding/json` writes it.

Existing agents, clients and registry files compare and hash these bytes, so they are part of the
wire format (v0): struct fields in their order, map keys sorted bytewise, `< > &` and U+2028/9
escaped, floats in the shortest form, absent maps and lists `null` but empty ones `{}` and `[]`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from scheduling.durations import Duration

_ESCAPED = re.compile('["\\\\<>&\x00-\x1f\u2028\u2029\ud800-\udfff]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
HASH_DIGITS = 7

Writer = Callable[[Any], str]


class GoStruct(msgspec.Struct, frozen=True, kw_only=True):
    """A value with Go's field order; the fields named in `omit_empty` are left out when empty.

    `go_order` overrides the order of definition where inheritance puts a field in the wrong place.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset()
    go_order: ClassVar[tuple[str, ...]] = ()


def go_json(value: Any) -> bytes:
    """The bytes Go would write for `value`, without the newline its encoder adds.

    Takes GoStructs, mappings with text keys, lists, tuples, text, numbers, booleans, Durations and
    None. Fields that are `msgspec.UNSET` are left out. Raises TypeError for anything else.
    """
    return _text(value).encode("utf-8")


def job_hash(job_name: str, canonical: bytes) -> str:
    """`job-` and the first 7 hex digits of the MD5 of the canonical JSON and a newline (wire format v0)."""
    digest = hashlib.md5(canonical + b"\n", usedforsecurity=False).hexdigest()
    return f"{job_name}-{digest[:HASH_DIGITS]}"


def _text(value: Any) -> str:
    return _WRITERS[type(value)](value)


class _Writers(dict[type, Writer]):
    """How values of each type are written: found out once, since there are few types and many values."""

    def __missing__(self, kind: type) -> Writer:
        self[kind] = write = _struct_writer(kind) if issubclass(kind, GoStruct) else _plain_writer(kind)
        return write


def _plain_writer(kind: type) -> Writer:
    for base, write in _PLAIN.items():
        if issubclass(kind, base):
            return write
    raise TypeError(f"{kind.__name__} has no Go JSON form")


def _struct_writer(kind: type[GoStruct]) -> Writer:
    names = kind.go_order or kind.__struct_fields__
    fields = [(name, f"{go_text(name)}:", name in kind.omit_empty) for name in names]

    def write(value: Any) -> str:
        members = []
        for name, key, omit_empty in fields:
            field = getattr(value, name)
            if field is not msgspec.UNSET and not (omit_empty and not field):
                members.append(key + _text(field))
        return "{" + ",".join(members) + "}"

    return write


def _mapping(value: Mapping[str, Any]) -> str:
    return (
        "{" + ",".join([f"{go_text(key)}:{_text(value[key])}" for key in sorted(value, key=_bytewise)]) + "}"
    )


def _sequence(value: Sequence[Any]) -> str:
    return "[" + ",".join([_text(item) for item in value]) + "]"


def _bytewise(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def go_text(text: str) -> str:
    """A JSON string as Go escapes it; a lone surrogate becomes U+FFFD, as Go's decoder makes of it."""
    return '"' + _ESCAPED.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def go_float(number: float) -> str:
    """Shortest decimal form that reads back the same; an exponent only below 1e-6 or from 1e21 on."""
    if number == 0:
        return "-0" if str(number).startswith("-") else "0"
    mantissa, _, exponent_text = f"{number!r}".partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    whole, _, fraction = mantissa.lstrip("-").partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    # The value is 0.DIGITS × 10**point.
    point = len(whole) + int(exponent_text or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if 1e-6 <= abs(number) < 1e21:
        if point <= 0:
            return f"{sign}0.{'0' * -point}{digits}"
        if len(digits) <= point:
            return sign + digits + "0" * (point - len(digits))
        return f"{sign}{digits[:point]}.{digits[point:]}"
    power = point - 1
    tail = f".{digits[1:]}" if digits[1:] else ""
    return f"{sign}{digits[0]}{tail}e{'-' if power < 0 else '+'}{abs(power)}"


# A type is written as the first of these that it is: true and false are whole numbers, too.
_PLAIN: dict[type, Writer] = {
    type(None): lambda _: "null",
    bool: lambda value: "true" if value else "false",
    str: go_text,
    int: lambda value: str(int(value)),
    float: go_float,
    Duration: lambda value: f'"{value}"',
    Mapping: _mapping,
    list: _sequence,
    tuple: _sequence,
}
_WRITERS = _Writers()
