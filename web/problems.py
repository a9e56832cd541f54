"""The one place where errors become HTTP: v0's `{"status_code","msg"}`, and RFC 9457 everywhere else."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import falcon
import falcon.asgi
import msgspec

from scheduling.answer import Answer, Result
from scheduling.canonical import go_json
from scheduling.validation import Problem
from web import limits
from web.cluster import OutcomeUnknownError, TooManyWaitersError, UnavailableError

log = logging.getLogger(__name__)

V0_PREFIX = "/api/v0"
V0_TYPE = "application/json; charset=utf-8"
# How a WebSocket ends.
_REFUSED, _BROKEN = 1008, 1011
PROBLEM_TYPE = "application/problem+json"
STATUSES: dict[Result, int] = {
    "created": 201,
    "changed": 200,
    "unchanged": 200,
    "invalid": 400,
    "conflict": 409,
    "not found": 404,
    "precondition failed": 412,
}


class HttpProblem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """A request that is not carried out: a status, and one sentence that says what would be right."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: Sequence[Problem] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = list(errors)
        self.headers = headers or {}


def invalid(errors: Sequence[Problem]) -> HttpProblem:
    """400 with every problem of a body; of very many only the first are named."""
    named = [
        msgspec.structs.replace(problem, field=problem.field[: limits.LONGEST_SHOWN])
        for problem in errors[: limits.MOST_PROBLEMS]
    ]
    detail = "; ".join(str(problem) for problem in named)
    if len(errors) > len(named):
        detail += f"; and {len(errors) - len(named)} more problems"
    return HttpProblem(400, detail, named)


def unavailable(detail: str) -> HttpProblem:
    """503 that may be tried again."""
    return HttpProblem(503, detail, headers={"Retry-After": str(limits.RETRY_SECONDS)})


def refused(answer: Answer) -> HttpProblem:
    """What the registry's refusal is in HTTP."""
    return HttpProblem(STATUSES[answer.result], answer.message)


def v0_reply(resp: falcon.asgi.Response, status: int, message: str) -> None:
    """An RPC reply as the old clients know it."""
    resp.status = status
    resp.content_type = V0_TYPE
    text = message.replace('"', "'")
    resp.data = b'{"status_code":%d,"msg":%s}\n' % (status, go_json(text))


def render(req: falcon.asgi.Request, resp: falcon.asgi.Response, problem: HttpProblem) -> None:
    """Write a problem in the style of the API that was asked."""
    for name, value in problem.headers.items():
        resp.set_header(name, value)
    resp.set_header("Cache-Control", "no-store")
    if req.path == V0_PREFIX or req.path.startswith(V0_PREFIX + "/"):
        v0_reply(resp, problem.status, problem.detail)
        return
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [
            {"field": error.field, "value": _plain(error.value), "expected": error.expected}
            for error in problem.errors
        ]
    resp.status = problem.status
    resp.content_type = PROBLEM_TYPE
    resp.data = msgspec.json.encode(body)


def _plain(value: Any) -> Any:
    """A value that is safe to send back: short, finite, not deep."""
    if isinstance(value, str):
        return value if len(value) <= limits.LONGEST_SHOWN else value[: limits.LONGEST_SHOWN] + "…"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int) and abs(value) < 2**63:
        return value
    return str(value)[: limits.LONGEST_SHOWN]


def add_handlers(app: falcon.asgi.App[Any, Any]) -> None:
    """Make every exception that a resource can raise a problem."""

    async def on_error(
        req: falcon.asgi.Request,
        resp: falcon.asgi.Response | None,
        error: Exception,
        _params: dict[str, Any],
        ws: falcon.asgi.WebSocket | None = None,
    ) -> None:
        problem = as_problem(req, error)
        if resp is None:
            # A WebSocket; one that is not accepted yet is refused with 403 so, and no more can be said.
            if ws is not None:
                await ws.close(_REFUSED if problem.status < 500 else _BROKEN)
            return
        resp.sse = None
        resp.stream = None
        render(req, resp, problem)

    for kind in (Exception, falcon.HTTPError):  # the framework knows the second one itself otherwise
        app.add_error_handler(kind, on_error)


def as_problem(req: falcon.asgi.Request, error: Exception) -> HttpProblem:
    """What an exception is in HTTP; a 500 without details is the last resort."""
    if isinstance(error, HttpProblem):
        return error
    if isinstance(error, falcon.HTTPError):
        return _framework_problem(req, error)
    if isinstance(error, OutcomeUnknownError):
        return unavailable(
            f"no answer came in time: {error}; the outcome is unknown; "
            "repeating with the same Idempotency-Key is safe"
        )
    if isinstance(error, UnavailableError):
        return unavailable(f"{error}; nothing has changed, try again")
    if isinstance(error, TooManyWaitersError):
        return unavailable(f"{error}; try again")
    # Never the body: the environment of a job may hold secrets.
    log.error("%s %s failed", req.method, req.path, exc_info=error)
    return HttpProblem(500, "this is a mistake of the scheduler; its log says more")


def _framework_problem(req: falcon.asgi.Request, error: falcon.HTTPError) -> HttpProblem:
    """What the framework itself refuses: unknown paths, wrong methods, malformed queries."""
    status = error.status_code
    headers = dict(error.headers or {})
    path = req.path[: limits.LONGEST_SHOWN]
    if status == 404:
        detail = f"there is nothing at {path}; /openapi.json lists what there is"
    elif status == 405:
        detail = f"{req.method} is not possible at {path}; possible: {headers.get('Allow', '')}"
    else:
        detail = error.description or error.title or HTTPStatus(status).phrase
    return HttpProblem(status, detail, headers=headers)
