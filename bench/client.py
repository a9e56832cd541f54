"""A plain HTTP client for the benchmarks: one kept-alive connection."""

from __future__ import annotations

import contextlib
import http.client
import time
import uuid
from typing import Any, NamedTuple

import msgspec

REQUEST_SECONDS = 60.0
CHANGE_SECONDS = 60.0


class ClientError(Exception):
    """A reply with another status than it must have."""


class Reply(NamedTuple):
    """What came back."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Requests to one server, one after the other."""

    def __init__(self, address: str) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=REQUEST_SECONDS)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One exchange; once more on a fresh connection when the kept-alive one was closed meanwhile."""
        for kept_alive in (self._connection.sock is not None, False):
            try:
                self._connection.request(method, path, body, headers or {})
                response = self._connection.getresponse()
                return Reply(response.status, response.headers, response.read())
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self._connection.close()
                if not kept_alive:
                    raise
        raise AssertionError("the second try returns or raises")

    def get_json(self, path: str) -> Any:
        """The decoded body of a GET; raises for another status than 200."""
        return msgspec.json.decode(self.expect(200, "GET", path))

    def expect(self, status: int, method: str, path: str, body: bytes | None = None) -> bytes:
        """The body of a reply with this status; raises ClientError for another."""
        reply = self.request(method, path, body)
        if reply.status != status:
            raise ClientError(f"{method} {path}: {reply.status} instead of {status}: {reply.body[:500]!r}")
        return reply.body

    def change(self, method: str, path: str, body: bytes | None = None) -> int:
        """A change that must be accepted (202); returns how often it was answered 503 before.

        A 503 says to try again: the same request id makes that safe, whatever became of the first try.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        give_up_at = time.monotonic() + CHANGE_SECONDS
        refused = 0
        while (reply := self.request(method, path, body, headers)).status != 202:
            if reply.status != 503 or time.monotonic() > give_up_at:
                raise ClientError(f"{method} {path}: {reply.status} instead of 202: {reply.body[:500]!r}")
            refused += 1
            time.sleep(0.2)
        return refused

    def close(self) -> None:
        """Hang up."""
        with contextlib.suppress(OSError):
            self._connection.close()
