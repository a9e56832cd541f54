"""One TCP connection to an agent that never blocks, and where the agent is.

What happens to a connection is told to its owner, from within `Mailbox.drain`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import Protocol

from actors.agent_link import Mailbox
from config.bounds import AGENT_READ_BYTES

# A pulled cable resets nothing: the kernel asks the other side after 5 s of silence, and gives up after 11.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))

# (family, address), as sockets take them.
Place = tuple[int, tuple[str, int]]
Found = Callable[[list[Place], OSError | None], None]


class Address:
    """Where an agent listens. A name is looked up for each connection, by a thread: only that may block.

    `endpoint`: as `desired.parse_endpoint` returns it, `http://HOST:PORT`.
    """

    def __init__(self, endpoint: str, mailbox: Mailbox) -> None:
        host, _, port = endpoint.removeprefix("http://").rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)
        self._mailbox = mailbox
        self._waiting: list[Found] = []
        self._numeric = _numeric(self.host, self.port)

    @property
    def header(self) -> str:
        """As the Host header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 80 else f"{host}:{self.port}"

    def find(self, then: Found) -> None:
        """Call `then` with the places, at once or later; one look-up is under way at a time."""
        if self._numeric:
            then(self._numeric, None)
            return
        self._waiting.append(then)
        if len(self._waiting) == 1:
            _LookUp(self, self._mailbox)

    def found(self, places: list[Place], error: OSError | None) -> None:
        """The look-up is over."""
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(places, error)


class _LookUp:
    """A look-up in a thread, which makes a descriptor readable when it is done."""

    def __init__(self, address: Address, mailbox: Mailbox) -> None:
        self._address, self._mailbox = address, mailbox
        self._places: list[Place] = []
        self._error: OSError | None = None
        self._reader, self._writer = socket.socketpair()
        mailbox.own(self._reader.fileno(), self, select.EPOLLIN)
        threading.Thread(target=self._run, name="look-up", daemon=True).start()

    def _run(self) -> None:
        try:
            self._places = _look_up(self._address.host, self._address.port)
        except OSError as error:
            self._error = error
        except UnicodeError as error:
            self._error = OSError(str(error))
        self._writer.close()

    def ready(self, _mask: int) -> None:
        """It is done."""
        self._mailbox.disown(self._reader.fileno())
        self._reader.close()
        self._address.found(self._places, self._error)


def _numeric(host: str, port: int) -> list[Place]:
    """The place, if this is no name; the resolver, which can tell that, too, costs each process 0.2 MB."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except OSError:
        return []
    return [(int(family), (host, port))]


def _look_up(host: str, port: int) -> list[Place]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(int(family), (str(where[0]), int(where[1]))) for family, _, _, _, where in found]


class Owner(Protocol):
    """What a connection is for."""

    def connected(self) -> None:
        """It is there."""

    def received(self, data: bytes) -> None:
        """The agent has sent this."""

    def lost(self, error: OSError | None) -> None:
        """It is not there any more, or could not be made; None: the agent has ended it."""


class Wire:
    """A connection that is closed, being made, or open."""

    def __init__(self, address: Address, mailbox: Mailbox, owner: Owner) -> None:
        self._address, self._mailbox, self._owner = address, mailbox, owner
        self._socket: socket.socket | None = None
        self._connecting = False
        self._outgoing = b""
        self._left: list[Place] = []
        self._attempt = 0

    @property
    def is_open(self) -> bool:
        """Whether it can send."""
        return self._socket is not None and not self._connecting

    def open(self) -> None:
        """Connect; the owner gets to know how that went."""
        self.close()
        self._address.find(partial(self._found, self._attempt))

    def close(self) -> None:
        """Close it; the owner, who wanted it, is not told."""
        self._attempt += 1
        self._outgoing = b""
        if self._socket is not None:
            self._mailbox.disown(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def end(self) -> None:
        """Have it end as if the agent had ended it: what has arrived is still received."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def send(self, data: bytes) -> None:
        """Send this, now or as there is room."""
        if self._socket is None:
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._lose(error)
            return
        self._outgoing = data[sent:]
        if self._outgoing:
            self._mailbox.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def ready(self, mask: int) -> None:
        """The descriptor can be read or written; or it could, when it was another's: then nothing is done."""
        if self._socket is None:
            return
        if self._connecting:
            self._made(self._socket)
            return
        if mask & select.EPOLLOUT and self._outgoing:
            self._mailbox.change(self._socket.fileno(), select.EPOLLIN)
            self.send(self._outgoing)
        if mask & ~select.EPOLLOUT and self._socket is not None:
            try:
                data = self._socket.recv(AGENT_READ_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                self._lose(error)
                return
            if data:
                self._owner.received(data)
            else:
                self._lose(None)

    def _found(self, attempt: int, places: list[Place], error: OSError | None) -> None:
        if attempt == self._attempt:
            self._left = list(places)
            self._dial(error or OSError(errno.EADDRNOTAVAIL, "the name has no address"))

    def _dial(self, error: OSError) -> None:
        """Connect to the next place that is left; `error` says why the last one was none."""
        while self._left:
            family, where = self._left.pop(0)
            made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            try:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                for option, value in _KEEP_ALIVE:
                    made.setsockopt(socket.IPPROTO_TCP, option, value)
                code = made.connect_ex(where)
            except OSError as problem:
                error, code = problem, problem.errno or errno.EINVAL
            if code in (0, errno.EINPROGRESS):
                self._socket, self._connecting = made, True
                self._mailbox.own(made.fileno(), self, select.EPOLLOUT)
                return
            made.close()
            error = OSError(code, os.strerror(code))
        self._lose(error)

    def _made(self, made: socket.socket) -> None:
        code = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            left = self._left
            self.close()
            self._left = left
            self._dial(OSError(code, os.strerror(code)))
            return
        try:
            made.getpeername()
        except OSError:
            return  # not yet
        self._connecting = False
        self._mailbox.change(made.fileno(), select.EPOLLIN)
        self._owner.connected()

    def _lose(self, error: OSError | None) -> None:
        self.close()
        self._owner.lost(error)


def said(problem: Exception) -> str:
    """An error in words."""
    words = problem.strerror if isinstance(problem, OSError) else ""
    return words or str(problem) or type(problem).__name__
