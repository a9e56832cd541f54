"""HTTP to the scheduler: every call has its timeouts, every failure becomes an error with an exit code.

Changes carry an Idempotency-Key, the same for every attempt, so an answer that got lost is asked for
again instead of doing the change twice.
"""

from __future__ import annotations

import random
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter

from config.bounds import ATTEMPTS, LARGEST_ANSWER_BYTES
from config.bounds import CTL_CONNECT_SECONDS as CONNECT_SECONDS
from config.bounds import CTL_LONGEST_PAUSE_SECONDS as LONGEST_PAUSE_SECONDS
from ctl.errors import RefusedError, UnreachableError, UserMistakeError
from ctl.problems import complaint

_CHUNK_BYTES = 64 * 1024
_LOOPBACK = ("127.", "localhost", "::1")

T = TypeVar("T")


class Answer(msgspec.Struct, frozen=True):
    """A 2xx: where it came from, and its body."""

    url: str
    body: bytes

    def json(self) -> Any:
        """The body as JSON. Raises UnreachableError when it is none: that was no scheduler."""
        return self.read_as(Any)

    def read_as(self, shape: type[T]) -> T:
        """The body as one of `ctl.shapes`."""
        return decode(self.body, shape, self.url)


def decode(body: bytes, shape: type[T], source: str) -> T:
    """JSON from the scheduler as one of `ctl.shapes`; what doesn't fit comes from something else."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnreachableError(f"{source} does not answer like a Harpoon scheduler: {error}") from error


def endpoint_url(text: str) -> str:
    """The base URL of a scheduler from what the user wrote; `host:port` will do."""
    url = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0
    except ValueError:
        wrong = True
    if wrong:
        raise UserMistakeError(f'"{text}" is no endpoint; write it like http://127.0.0.1:4444')
    return url.rstrip("/")


class Client:
    """Talks to one scheduler. `pause` waits between attempts (a test passes its own)."""

    def __init__(
        self, endpoint: str, *, timeout_seconds: float = 30.0, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.endpoint = endpoint_url(endpoint)
        self._timeout_seconds = timeout_seconds
        self._pause = pause

    def get(self, *path: str, query: Mapping[str, str | None] | None = None) -> Answer:
        """GET a path given by its segments; parameters that are None are left out."""
        return self._attempt("GET", self._url(*path), query=query)

    def post_once(self, *path: str, body: bytes) -> Answer:
        """POST what must not be done twice: one attempt, whatever becomes of it."""
        headers = {"Content-Type": "application/json"}
        return self._attempt("POST", self._url(*path), body=body, headers=headers)

    def change(
        self,
        method: str,
        *path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | None] | None = None,
    ) -> Answer:
        """PUT, POST or DELETE, tried again while it is unknown whether it has arrived.

        Raises RefusedError for a 4xx, UnreachableError when all attempts failed.
        """
        url, key = self._url(*path), str(uuid.uuid4())
        sent = {**(headers or {}), "Idempotency-Key": key, "Content-Type": "application/json"}
        unknown = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(method, url, query=query, body=body, headers=sent)
            except UnreachableError as error:
                # Nobody listens, and no earlier attempt got through: no need to wait for that.
                unknown = unknown or not error.unsent
                if not unknown:
                    raise
                if attempt == ATTEMPTS:
                    raise UnreachableError(
                        *error.lines, "the outcome is unknown; the same command again is safe"
                    ) from error
                self._pause(_pause_seconds(attempt, error.retry_after_seconds))
        raise AssertionError("the last attempt returns or raises")

    @contextmanager
    def stream(
        self,
        *path: str,
        query: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        silence_seconds: float | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """GET an answer without end, as the pieces it arrives in; at most `silence_seconds` apart.

        Without a limit the kernel's keep-alive still notices a peer that is gone.
        """
        url = self._url(*path)
        wanted = {"Accept": "text/event-stream", **(headers or {})}
        with self._open("GET", url, query=query, headers=wanted, read_seconds=silence_seconds) as response:
            self._check(response)
            yield self._pieces(response)

    def websocket(self, *path: str) -> tuple[str, bool]:
        """The address of a WebSocket, by its segments; and whether a proxy may lead to it."""
        url = self._url(*path)
        return "ws" + url.removeprefix("http"), not _is_loopback(url)

    def _url(self, *path: str) -> str:
        return "/".join([self.endpoint, *(quote(segment, safe="") for segment in path)])

    def _attempt(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        with self._open(
            method, url, query=query, body=body, headers=headers, read_seconds=self._timeout_seconds
        ) as response:
            self._check(response)
            return Answer(url, self._body(response))

    def _check(self, response: requests.Response) -> None:
        """Raise for everything but a 2xx."""
        status = response.status_code
        if 200 <= status < 300:
            return
        lines = complaint(status, self._body(response))
        if 400 <= status < 500:
            raise RefusedError(status, *lines)
        if status < 400:
            raise UnreachableError(f"{self.endpoint} does not answer like a Harpoon scheduler: HTTP {status}")
        raise UnreachableError(*lines, retry_after_seconds=_seconds(response.headers.get("Retry-After")))

    def _body(self, response: requests.Response) -> bytes:
        deadline = time.monotonic() + self._timeout_seconds
        pieces: list[bytes] = []
        size = 0
        for piece in self._pieces(response):
            pieces.append(piece)
            size += len(piece)
            if size > LARGEST_ANSWER_BYTES:
                text = f"more than {LARGEST_ANSWER_BYTES} bytes"
                raise UnreachableError(f"{self.endpoint} does not answer like a Harpoon scheduler: {text}")
            # Timeouts of a socket begin anew with each byte; a body that trickles needs one of its own.
            if time.monotonic() > deadline:
                raise UnreachableError(f"{self.endpoint} did not finish its answer in time")
        return b"".join(pieces)

    def _pieces(self, response: requests.Response) -> Iterator[bytes]:
        # Not iter_content: without chunked encoding that waits until a whole block is there.
        try:
            while piece := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                yield piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(f"the connection to {self.endpoint} broke: {_reason(error)}") from error

    @contextmanager
    def _open(
        self,
        method: str,
        url: str,
        *,
        query: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float | None,
    ) -> Iterator[requests.Response]:
        with requests.Session() as session:
            session.mount("http://", _KeepAliveAdapter())
            session.mount("https://", _KeepAliveAdapter())
            # A proxy set for the internet can't reach this machine's own loopback.
            session.trust_env = not _is_loopback(url)
            try:
                response = session.request(
                    method,
                    url,
                    params=dict(query or {}),
                    data=body,
                    headers={"Accept-Encoding": "identity", **(headers or {})},
                    timeout=(min(CONNECT_SECONDS, self._timeout_seconds), read_seconds),
                    stream=True,
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                unsent = _unsent(error)
                text = "can't reach the scheduler at" if unsent else "no answer from the scheduler at"
                raise UnreachableError(f"{text} {self.endpoint}: {_reason(error)}", unsent=unsent) from error
            with response:
                yield response


class _KeepAliveAdapter(HTTPAdapter):
    """Lets the kernel notice, within about a minute, that the peer of a silent stream is gone."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        options = [*urllib3.connection.HTTPConnection.default_socket_options]
        options.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        # These three have other names, or none, outside Linux; the system's pace is good enough there.
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
        super().init_poolmanager(*args, socket_options=options, **kwargs)


def _is_loopback(url: str) -> bool:
    return (urlsplit(url).hostname or "").startswith(_LOOPBACK)


def _pause_seconds(attempt: int, retry_after_seconds: float | None) -> float:
    if retry_after_seconds is not None:
        return min(retry_after_seconds, LONGEST_PAUSE_SECONDS)
    # Random, so that many clients cut off at once do not come back at once.
    return min(0.25 * 2.0**attempt, LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


def _seconds(header: str | None) -> float | None:
    return float(header) if header is not None and header.isascii() and header.isdigit() else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it wraps, outermost first; urllib3 keeps the cause in `reason` or `args`."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        inner = [getattr(seen, "reason", None), *seen.args, seen.__cause__]
        seen = next((cause for cause in inner if isinstance(cause, BaseException)), None)


def _unsent(error: BaseException) -> bool:
    never = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)
    return any(isinstance(cause, never) for cause in _causes(error)) or isinstance(
        error, requests.exceptions.InvalidURL
    )


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words."""
    causes = list(_causes(error))
    if any(_timed_out(cause) for cause in causes):
        return "timed out"
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[:1].lower() + cause.strerror[1:]
    return str(causes[-1]) or type(causes[-1]).__name__


def _timed_out(error: BaseException) -> bool:
    # urllib3 derives "connection refused" from a timeout.
    refused = isinstance(error, urllib3.exceptions.NewConnectionError)
    return isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError) and not refused
