"""The fleet's HTTP/1.1: an incremental parser and replies as bytes; no sockets.

A fleet answers thousands of short requests a second on the same cores as the scheduler it is to
measure, so what repeats is done once: header blocks are parsed once and remembered, replies are
encoded once.
"""

from __future__ import annotations

import re

import msgspec

LARGEST_HEAD_BYTES = 32 * 1024
LARGEST_BODY_BYTES = 1024 * 1024
_HEADERS_REMEMBERED = 8192

TEXT = b"text/plain; charset=utf-8"
JSON = b"application/json; charset=utf-8"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)

_REASONS = {
    200: b"OK",
    201: b"Created",
    202: b"Accepted",
    400: b"Bad Request",
    404: b"Not Found",
    405: b"Method Not Allowed",
    409: b"Conflict",
    411: b"Length Required",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
}
_HEADER = re.compile(rb"(?i)(content-length|connection|accept|transfer-encoding):[ \t]*([^\r\n]*)")


class WireError(Exception):
    """The bytes are no request that can be answered; `reply` says why, then the connection is closed."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.reply = reply(status, text.encode() + b"\n", close=True)


class Headers(msgspec.Struct, frozen=True):
    """The few headers that matter."""

    length: int
    close: bool
    events: bool


class Request(msgspec.Struct, frozen=True):
    """One request; `events`: it asks for an event stream."""

    method: bytes
    target: bytes
    body: bytes
    events: bool
    close: bool


def reply(status: int, body: bytes, kind: bytes = TEXT, *, close: bool = False) -> bytes:
    """A whole reply."""
    return b"HTTP/1.1 %d %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n%b" % (
        status,
        _REASONS[status],
        kind,
        len(body),
        b"Connection: close\r\n" if close else b"",
        body,
    )


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class RequestParser:
    """Bytes in, requests out; one a connection. What is not whole yet stays in it."""

    __slots__ = ("_buffer", "_headers", "_line")

    def __init__(self) -> None:
        self._buffer = b""
        self._line = b""
        self._headers: Headers | None = None

    def feed(self, data: bytes) -> None:
        """Take in what was received."""
        self._buffer = self._buffer + data if self._buffer else data

    def next(self) -> Request | None:
        """The next whole request. Raises WireError."""
        headers = self._headers
        if headers is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > LARGEST_HEAD_BYTES:
                    raise WireError(431, f"the head has more than {LARGEST_HEAD_BYTES} bytes")
                return None
            self._line, _, block = self._buffer[:end].partition(b"\r\n")
            self._buffer = self._buffer[end + 4 :]
            headers = _remembered.get(block)
            if headers is None:
                headers = _remember(block)
        length = headers.length
        if len(self._buffer) < length:
            self._headers = headers
            return None
        self._headers = None
        body = self._buffer[:length]
        self._buffer = self._buffer[length:]
        words = self._line.split(b" ")
        if len(words) != 3:
            raise WireError(400, "the request line is not METHOD TARGET VERSION")
        close = headers.close or words[2] == b"HTTP/1.0"
        return Request(words[0], words[1], body, headers.events, close)


_remembered: dict[bytes, Headers] = {}


def _remember(block: bytes) -> Headers:
    found = {name.lower(): value for name, value in _HEADER.findall(block)}
    if b"transfer-encoding" in found:
        raise WireError(411, "bodies are taken with a Content-Length only")
    length = found.get(b"content-length", b"0")
    if not length.isdigit() or len(length) > 12:
        raise WireError(400, f"Content-Length is {length[:40]!r}; it must be a number")
    if int(length) > LARGEST_BODY_BYTES:
        raise WireError(413, f"the body has more than {LARGEST_BODY_BYTES} bytes")
    if len(_remembered) >= _HEADERS_REMEMBERED:
        _remembered.clear()
    headers = Headers(
        int(length),
        found.get(b"connection", b"").lower() == b"close",
        b"text/event-stream" in found.get(b"accept", b""),
    )
    _remembered[block] = headers
    return headers
