"""Load on a server from one loop: several kept-alive connections, each with one request in flight."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec

_LENGTH = re.compile(rb"(?i)\r\ncontent-length:[ \t]*(\d+)")
_BUFFER_BYTES = 1024 * 1024
LONGEST_REPLY_SECONDS = 60.0


class LoadError(Exception):
    """The server hung up, or answered with a status that was not expected."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What was answered in how long; CPU in seconds of this process, to know what the load itself takes."""

    requests: int
    seconds: float
    received_mb: float
    own_cpu: float
    slowest_seconds: float


def request_bytes(
    method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = MappingProxyType({})
) -> bytes:
    """A whole request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def drive(address: str, requests: Iterator[bytes], connections: int, seconds: float, status: int) -> Load:
    """Send what `requests` gives for so long, or until it gives no more; every reply must have `status`."""
    expected = b"HTTP/1.1 %d" % status
    buffer = memoryview(bytearray(_BUFFER_BYTES))
    started, cpu = time.perf_counter(), time.process_time()
    done = received = 0
    slowest = 0.0
    with selectors.DefaultSelector() as selector:
        lines = [_Line(address) for _ in range(connections)]
        try:
            busy = 0
            for line in lines:
                selector.register(line.socket, selectors.EVENT_READ, line)
                busy += line.send(next(requests, b""))
            while busy:
                ready = selector.select(LONGEST_REPLY_SECONDS)
                if not ready:
                    raise LoadError(f"no reply within {LONGEST_REPLY_SECONDS:.0f} s")
                for key, _ in ready:
                    line = key.data
                    if not line.receive(buffer, expected):
                        continue
                    busy -= 1
                    done, received = done + 1, received + line.received
                    now = time.perf_counter()
                    slowest = max(slowest, now - line.sent_at)
                    if now - started < seconds:
                        busy += line.send(next(requests, b""))
        finally:
            for line in lines:
                line.socket.close()
    return Load(
        requests=done,
        seconds=time.perf_counter() - started,
        received_mb=received / 1e6,
        own_cpu=time.process_time() - cpu,
        slowest_seconds=slowest,
    )


class _Line:
    """One connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.socket = socket.create_connection((host.strip("[]"), int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self.received = 0
        self._head = b""
        self._left = -1

    def send(self, request: bytes) -> int:
        """Send one; 0 when there is none."""
        if not request:
            return 0
        self._head, self._left, self.received = b"", -1, 0
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)
        return 1

    def receive(self, buffer: memoryview, expected: bytes) -> bool:
        """Take in what is there; whether the reply is whole."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise LoadError("the server hung up")
        self.received += count
        if self._left >= 0:
            self._left -= count
            return self._left <= 0
        self._head += bytes(buffer[:count])
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return False
        if not self._head.startswith(expected):
            raise LoadError(f"{self._head[:300]!r} instead of {expected.decode()}")
        length = _LENGTH.search(self._head, 0, end + 2)
        self._left = (int(length[1]) if length else 0) - (len(self._head) - end - 4)
        return self._left <= 0
