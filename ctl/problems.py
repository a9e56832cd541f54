"""What the scheduler's errors say to people, one line for each thing that is wrong."""

from __future__ import annotations

import json
from http import HTTPStatus

import msgspec

from config.bounds import CTL_LONGEST_SHOWN as _SHOWN
from ctl.shapes import FieldError, Problem


def complaint(status: int, body: bytes) -> list[str]:
    """The lines for an error answer, whoever gave it: problem+json, v0's JSON, or something else."""
    try:
        problem = msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, RecursionError):
        problem = Problem()
    if problem.errors:
        return [field_line(error) for error in problem.errors]
    said = problem.detail or problem.msg or problem.title
    return [said or f"HTTP {status} {_phrase(status)}".rstrip()]


def field_line(error: FieldError) -> str:
    """`resources.cpu is 0; it must be …`."""
    expected = error.expected or "that is not right"
    if error.value is msgspec.UNSET:
        return f"{error.field}: {expected}" if error.field else expected
    value = json.dumps(error.value, ensure_ascii=False)
    value = value if len(value) <= _SHOWN else value[:_SHOWN] + "…"
    return f"{error.field or 'the job'} is {value}; {expected}"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
