"""What a line of the tables of operations says, and what many of them share."""

from __future__ import annotations

import msgspec

from web.encoded import JSON


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method at one path. `reply` and `body` name a schema; `key` wraps it as the list of that name.

    `bodiless`: the body may be left out.
    """

    method: str
    path: str
    text: str
    status: int = 200
    reply: str = ""
    key: str = ""
    body: str = ""
    bodiless: bool = False
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    media: str = JSON
    errors: tuple[int, ...] = ()


WAIT = (
    ("index", "Wait until the registry version is above this."),
    ("wait", 'How long, like "30s"; at most 60s.'),
)
WRITE = (("Idempotency-Key", "1 to 128 printable ASCII characters; makes repeating safe."),)
IF = (
    ("If-Match", "The job's version as its ETag gave it, or *."),
    ("If-None-Match", "*: there must be no such job yet."),
)
JOB = "/api/v1/jobs/{product}/{environment}/{job}"
