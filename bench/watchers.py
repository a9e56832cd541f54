"""Many watchers of /api/v1/events in one loop, and when each of them sees a change."""

from __future__ import annotations

import selectors
import socket
import time

_BUFFER_BYTES = 256 * 1024
_REQUEST = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n"


class Watchers:
    """Connected watchers; end them with `close`."""

    def __init__(self, address: str, count: int) -> None:
        host, _, port = address.rpartition(":")
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._tails: dict[int, bytes] = {}
        self.received_bytes = 0
        try:
            for _ in range(count):
                sock = socket.create_connection((host.strip("[]"), int(port)))
                self._sockets.append(sock)
                sock.sendall(_REQUEST)
                sock.setblocking(False)
                self._selector.register(sock, selectors.EVENT_READ)
        except BaseException:
            self.close()
            raise

    def read_for(self, seconds: float) -> None:
        """Take in what comes, and look at none of it."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                self._receive(key.fileobj)  # type: ignore[arg-type] # only sockets are registered

    def seen(self, marker: bytes, timeout_seconds: float) -> list[float]:
        """The monotonic time at which each watcher has received this; those who have not are missing."""
        times: dict[int, float] = {}
        self._tails = {}
        until = time.monotonic() + timeout_seconds
        while len(times) < len(self._sockets) and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                data = self._tails.get(key.fd, b"") + self._receive(key.fileobj)  # type: ignore[arg-type]
                if key.fd not in times:
                    if marker in data:
                        times[key.fd] = time.monotonic()
                    self._tails[key.fd] = data[-len(marker) :]
        return list(times.values())

    def close(self) -> None:
        """Hang up."""
        for sock in self._sockets:
            sock.close()
        self._selector.close()

    def _receive(self, sock: socket.socket) -> bytes:
        try:
            data = sock.recv(_BUFFER_BYTES)
        except BlockingIOError:
            return b""
        if not data:
            raise ConnectionError("the server has ended an event stream")
        self.received_bytes += len(data)
        return data
