"""Bodies about agents: how to reach one that is added, and by when one is to be empty."""

from __future__ import annotations

import re
from typing import Any

import falcon.asgi

from config.bounds import LONGEST_AGENT_NAME, LONGEST_DRAIN_SECONDS, LONGEST_LABEL, MOST_LABELS
from scheduling.desired import parse_endpoint
from scheduling.draining import AddAgent
from scheduling.durations import Duration
from scheduling.validation import Problem
from web.bodies import parse_object, quotable, read_body, unknown_problem
from web.problems import invalid

_LABEL_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")
_LABEL = (
    "its name must be 1 to 100 letters, digits, '_', '.', '/' or '-', its value at most "
    f"{LONGEST_LABEL} printable characters"
)


def read_agent(raw: dict[str, Any], name: str) -> AddAgent:
    """`{"endpoint": "HOST:PORT", "labels": {…}}`. Raises HttpProblem naming everything that is wrong."""
    wrong = [unknown_problem(raw, field) for field in raw if field not in ("endpoint", "labels")]
    if not name.strip() or len(name) > LONGEST_AGENT_NAME or not name.isprintable() or "=" in name:
        right = f"it must be 1 to {LONGEST_AGENT_NAME} printable characters without '/' and '='"
        wrong.append(Problem("name", name, right))
    endpoint = raw.get("endpoint")
    try:
        endpoint = parse_endpoint(endpoint if isinstance(endpoint, str) else "")
    except ValueError:
        wrong.append(Problem("endpoint", quotable(endpoint), 'it must be like "10.0.0.7:3333"'))
    labels = {} if raw.get("labels") is None else raw["labels"]
    if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
        wrong.append(Problem("labels", quotable(labels), "it must be an object of texts"))
    elif len(labels) > MOST_LABELS:
        wrong.append(Problem("labels", f"{len(labels)} labels", f"at most {MOST_LABELS} are possible"))
    else:
        wrong += [
            Problem(f"labels.{key[:LONGEST_LABEL]}", quotable(value), _LABEL)
            for key, value in labels.items()
            if not _LABEL_NAME.fullmatch(key) or len(value) > LONGEST_LABEL or not value.isprintable()
        ]
    if wrong:
        raise invalid(wrong)
    return AddAgent(name=name, endpoint=str(endpoint), labels=labels)


async def read_deadline(req: falcon.asgi.Request) -> float | None:
    """Seconds out of `{"deadline": "10m"}`; None for an empty body, or null: however long it takes."""
    body = await read_body(req)
    raw = parse_object(body, strict=True) if body.strip() else {}
    unknown = [unknown_problem(raw, field) for field in raw if field != "deadline"]
    if unknown:
        raise invalid(unknown)
    deadline = raw.get("deadline")
    if deadline is None:
        return None
    try:
        seconds = Duration.parse(deadline if isinstance(deadline, str) else "").seconds
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= LONGEST_DRAIN_SECONDS:
        right = 'it must be a duration from 0s to 168h, like "10m"'
        raise invalid([Problem("deadline", quotable(deadline), right)])
    return seconds
