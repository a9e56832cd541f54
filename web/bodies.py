"""Request bodies: read within bounds; errors name the field, the value and what would be right."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NoReturn

import falcon.asgi
import msgspec

from config.bounds import LONGEST_NUMBER as _LONGEST_NUMBER
from config.bounds import LONGEST_SHOWN_COLLECTION as _SHOWN_COLLECTION
from scheduling.job import ALL, JobConfig, decode_hook, unknown_fields
from scheduling.validation import Problem, problems
from web import limits
from web.problems import HttpProblem, invalid, unavailable

_AT = re.compile(r"^(?P<what>.*) - at `\$(?P<path>[^`]*)`$", re.DOTALL)
_GOT = re.compile(r"^Expected `(?P<expected>[^`]*)`, got `(?P<got>[^`]*)`$")
_STEP = re.compile(r"\.([A-Za-z_]\w*)|\[(\d+|\.\.\.)\]")
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "bool": "true or false",
    "object": "an object",
    "array": "an array",
    "null": "null",
}


class _Reading:
    """How many bodies are being read in this process: each may hold as much memory as its limit."""

    now = 0


async def read_body(req: falcon.asgi.Request, largest_bytes: int = limits.LARGEST_BODY_BYTES) -> bytes:
    """The whole body. Raises 413 when it is larger than `largest_bytes`, 408 when it does not come, and 503
    when very many are being read already.
    """
    if _Reading.now >= limits.MOST_BODIES:
        raise unavailable(
            f"{limits.MOST_BODIES} requests are being read already; nothing has changed, try again"
        )
    _Reading.now += 1
    try:
        return await _read(req, largest_bytes)
    finally:
        _Reading.now -= 1


async def _read(req: falcon.asgi.Request, largest_bytes: int) -> bytes:
    length = req.content_length
    too_large = length is not None and length > largest_bytes
    if too_large and (req.get_header("Expect") or (length or 0) > limits.LARGEST_DRAINED_BYTES):
        # The client waits for our word before it sends, or it is hopeless to wait for all of it.
        raise _too_large(length, largest_bytes)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.DRAIN_SECONDS if too_large else limits.BODY_SECONDS):
            async for chunk in req.stream:
                size += len(chunk)
                if size <= largest_bytes:
                    chunks.append(chunk)
                elif size > limits.LARGEST_DRAINED_BYTES:
                    break
                else:
                    # Thrown away as it comes: a client that still sends would not read our answer.
                    chunks.clear()
    except TimeoutError:
        raise HttpProblem(408, f"the body did not come within {limits.BODY_SECONDS:g} s") from None
    if size > largest_bytes:
        raise _too_large(length, largest_bytes)
    return b"".join(chunks)


def _too_large(length: int | None, largest_bytes: int) -> HttpProblem:
    size = f"{length} bytes" if length is not None else f"more than {largest_bytes} bytes"
    return HttpProblem(413, f"the body is {size}; at most {largest_bytes} are accepted")


def parse_object(body: bytes, *, strict: bool) -> dict[str, Any]:
    """A body that is one JSON object. `strict` refuses a name that is given twice; else the last counts."""
    if not body.strip():
        raise HttpProblem(400, "the body is empty; send a job config as a JSON object")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        detail = f"the body is not UTF-8: byte 0x{body[error.start]:02x} at position {error.start}"
        raise HttpProblem(400, f"{detail}; send JSON in UTF-8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique if strict else None,
            parse_int=_whole,
            parse_constant=_no_constant,
        )
        lone = _lone_surrogate(value, "") if "\\ud" in text.lower() else None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise HttpProblem(400, f"the body is not JSON: {error.msg} at {where}") from None
    except RecursionError:
        raise HttpProblem(400, "the body is nested too deeply; a job config has 4 levels") from None
    if not isinstance(value, dict):
        raise HttpProblem(400, f"the body is {_shown(value)}; send a job config as a JSON object")
    if lone is not None:
        raise invalid([Problem(lone, "half of a surrogate pair", "it must be text that UTF-8 can carry")])
    return value


def decode_job(raw: dict[str, Any], *, strict: bool) -> JobConfig:
    """A valid job config. `strict` (v1) refuses unknown fields; else (v0) they and nulls are ignored, as
    the old programs do.
    """
    try:
        if strict:
            unknown = unknown_fields(raw)
            if unknown:
                raise invalid([unknown_problem(raw, name) for name in unknown])
        else:
            raw = {name: value for name, value in raw.items() if value is not None}
        config = msgspec.convert(raw, JobConfig, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise invalid([type_problem(str(error), raw)]) from None
    except RecursionError:
        raise HttpProblem(400, "the body is nested too deeply; a job config has 4 levels") from None
    found = problems(config)
    if not strict and config.everywhere:
        # Other clients of v0 could not read it.
        right = "it must be a number; a task on each agent is scheduled through /api/v1"
        found.insert(0, Problem("scale", config.scale, right))
    if found:
        raise invalid(found)
    return config


def type_problem(message: str, raw: Any) -> Problem:
    """A wrong type as msgspec tells it, as a problem with the dotted field and the value found there."""
    at = _AT.match(message)
    what, path = (at["what"], at["path"]) if at else (message, "")
    got = _GOT.match(what)
    field, value = _find(raw, path, got["got"] if got else None)
    if field.rpartition(".")[2] == "scale":
        return Problem(field, value, f'it must be a whole number or "{ALL}"')
    if got:
        expected = " or ".join(_KINDS.get(kind, kind) for kind in got["expected"].split(" | "))
        return Problem(field, value, f"it must be {expected}")
    # Our own decoders say what they expected, and the value is quoted already.
    return Problem(field, value, re.sub(r"^expected (.*), got .*$", r"it must be \1", what))


def _find(raw: Any, path: str, got: str | None) -> tuple[str, Any]:
    names, value = _follow(raw, path, got)
    return names or "the body", quotable(value)


def _follow(raw: Any, path: str, got: str | None) -> tuple[str, Any]:
    """Follow msgspec's path; where it says `[...]`, some entry of an object, find the one it complains of."""
    names: list[str] = []
    value = raw
    for name, index in _STEP.findall(path):
        if name:
            names.append(f".{name}")
            value = value.get(name) if isinstance(value, dict) else None
        elif index != "...":
            names.append(f"[{index}]")
            value = value[int(index)] if isinstance(value, list) else None
        elif isinstance(value, dict):
            key = next((key for key, item in value.items() if got is None or _kind(item) == got), "...")
            names.append(f".{key}")
            value = value.get(key)
    return "".join(names).lstrip("."), value


def unknown_problem(raw: dict[str, Any], field: str) -> Problem:
    """The problem of a field that is not known, as `unknown_fields` names it."""
    owner: Any = raw
    name = field
    # Only known fields have fields; a name that is not known may hold dots of its own.
    while isinstance(owner, dict) and name not in owner and "." in name:
        parent, _, name = name.partition(".")
        owner = _follow(owner, f".{parent}", None)[1]
    value = owner.get(name) if isinstance(owner, dict) else None
    return Problem(field, quotable(value), "there is no such field; remove it, or see /openapi.json")


def quotable(value: Any) -> Any:
    """Collections are quoted as a short text, so that nothing deep or long is carried along."""
    return _shown(value) if isinstance(value, dict | list) else value


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except RecursionError:
        text = "[[[["
    return text if len(text) <= _SHOWN_COLLECTION else text[:_SHOWN_COLLECTION] + "…"


def _kind(value: Any) -> str:
    """msgspec's word for the type of a JSON value."""
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    return "null" if value is None else type(value).__name__


def _whole(text: str) -> int | float:
    """Numbers of thousands of digits would take long to read; a float is refused where an int is due."""
    return int(text) if len(text) <= _LONGEST_NUMBER else float(text)


def _no_constant(text: str) -> NoReturn:
    raise HttpProblem(400, f"the body is not JSON: {text} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise invalid([Problem(name, quotable(value), "it is given twice; give it once")])
        found[name] = value
    return found


def _lone_surrogate(value: Any, path: str) -> str | None:
    """The path of a text that UTF-8 can't carry."""
    if isinstance(value, str):
        return path if any("\ud800" <= character <= "\udfff" for character in value) else None
    if isinstance(value, dict):
        for name, item in value.items():
            if _lone_surrogate(name, path) is not None:
                return path or "a field's name"
            found = _lone_surrogate(item, f"{path}.{name}".lstrip("."))
            if found is not None:
                return found
    if isinstance(value, list):
        for position, item in enumerate(value):
            found = _lone_surrogate(item, f"{path}[{position}]")
            if found is not None:
                return found
    return None
