"""What requests carry beside their body: request ids, preconditions, waits."""

from __future__ import annotations

import uuid

import falcon.asgi

from config.trusted_hosts import is_own_page, is_trusted
from scheduling.answer import ANY
from scheduling.durations import Duration
from web import limits
from web.cluster import ClusterState
from web.problems import HttpProblem, unavailable

REQUEST_ID = "Idempotency-Key"
INDEX = "X-Harpoon-Index"
STALE = "X-Harpoon-Stale"
_LARGEST_INDEX = 2**63 - 2
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def request_id(req: falcon.asgi.Request, resp: falcon.asgi.Response) -> str:
    """The request's id, a fresh one without; echoed, so that also that one can be repeated."""
    given = req.get_header(REQUEST_ID)
    if given is None:
        given = uuid.uuid4().hex
    elif not (1 <= len(given) <= limits.LONGEST_REQUEST_ID and given.isascii() and given.isprintable()):
        shown = ascii(given[: limits.LONGEST_SHOWN])
        right = f"it must be 1 to {limits.LONGEST_REQUEST_ID} printable ASCII characters"
        raise HttpProblem(400, f"{REQUEST_ID} is {shown}; {right}")
    resp.set_header(REQUEST_ID, given)
    return given


def expected_version(req: falcon.asgi.Request, current: int) -> int | None:
    """The version that If-Match or If-None-Match demand; 0: there must be none; None: any will do.

    `If-Match: *` is ANY: a repeat of the request must ask for the same again. `current` is the version this
    worker sees, 0 for none; of several ETags the one that matches it is taken.
    """
    if_none_match = req.get_header("If-None-Match")
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise HttpProblem(
                400, f"If-None-Match is {if_none_match[: limits.LONGEST_SHOWN]!r}; on a change it must be *"
            )
        return 0
    if_match = req.get_header("If-Match")
    if if_match is None:
        return None
    if if_match.strip() == "*":
        return ANY
    versions = [_version(each.strip()) for each in if_match.split(",")]
    if current in versions:
        return current
    if 0 in versions:
        raise HttpProblem(412, 'If-Match is "0", which nothing has; If-None-Match: * demands that it is new')
    return versions[0]


def _version(etag: str) -> int:
    digits = etag[1:-1]
    quoted = len(etag) > 2 and etag[0] == etag[-1] == '"'
    if not quoted or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
        raise HttpProblem(
            400, f'If-Match is {etag[: limits.LONGEST_SHOWN]!r}; it must be an ETag, like "42", or *'
        )
    return int(digits)


async def settle(req: falcon.asgi.Request, resp: falcon.asgi.Response, state: ClusterState) -> None:
    """Before a v1 GET answers: wait as `?index=N&wait=30s` asks, and say how new the answer is."""
    if req.query_string:
        await _wait(req, state)
    if not state.complete:
        raise unavailable("the state of the cluster has not arrived here yet; try again")
    resp.set_header(INDEX, str(state.version))
    if not state.connected:
        resp.set_header(STALE, "true")


async def _wait(req: falcon.asgi.Request, state: ClusterState) -> None:
    index = req.get_param("index")
    wait = req.get_param("wait")
    if index is None and wait is None:
        return
    if index is None:
        raise HttpProblem(400, "wait is given without index; index=N says what to wait for")
    if not (index.isascii() and index.isdigit()) or len(index) > 18:
        shown = index[: limits.LONGEST_SHOWN]
        raise HttpProblem(400, f"index is {shown!r}; it must be a version, as {INDEX} gives it")
    seconds = limits.DEFAULT_WAIT_SECONDS
    if wait is not None:
        try:
            seconds = Duration.parse(wait).seconds
        except ValueError as error:
            raise HttpProblem(400, f"wait: {error}") from None
    await state.newer_than(int(index), min(max(seconds, 0.0), limits.LONGEST_WAIT_SECONDS))


class OriginGuard:
    """Middleware against other web sites that use a visitor's browser to reach the scheduler.

    A browser names the page a change comes from: it must be one of our own, at an address or one of
    `hosts`. With `strict`, reads under another name are refused too. None for `hosts`: any name.
    """

    def __init__(self, hosts: frozenset[str] | None = None, *, strict: bool = True) -> None:
        self._hosts = hosts
        self._strict = strict

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Refuse with 403 before anything is read."""
        self._check(req, safe=req.method in _SAFE)

    async def process_request_ws(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket) -> None:
        """The same for a WebSocket, by which anything may be done: browsers let any page open one."""
        self._check(req, safe=False)

    def _check(self, req: falcon.asgi.Request, *, safe: bool) -> None:
        host, origin = req.get_header("Host"), req.get_header("Origin")
        changes = origin is not None and not safe
        if self._hosts is not None and (self._strict or changes) and not is_trusted(host, self._hosts):
            raise HttpProblem(
                403,
                f"Host is {_quoted(host)}, which is none of the names this scheduler is to be called by; "
                "the setting host_names adds some",
            )
        if changes and not is_own_page(origin or "", host):
            raise HttpProblem(
                403,
                f"Origin is {_quoted(origin)} and Host is {_quoted(host)}; "
                "changes are only taken from the scheduler's own pages, and from programs",
            )


def _quoted(text: str | None) -> str:
    return ascii((text or "")[: limits.LONGEST_SHOWN])
