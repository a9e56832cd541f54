"""Requests to one agent: a few kept-alive connections, one request at a time on each."""

from __future__ import annotations

import re
import time
from collections import deque

from actors.agent_link import NEVER, Mailbox, Probed, Replied
from actors.agent_replies import BadReplyError, ReplyParser
from actors.agent_wire import Address, Wire, said
from actors.hosts import boot_seconds
from config.bounds import LARGEST_REPLY_BYTES
from scheduling.executor import Outcome, Request
from scheduling.lifecycle import Input

REQUEST_SECONDS = 15.0
PROBE_SECONDS = 5.0
_VERBS = {
    Input.PUT: ("PUT", "", 201),
    Input.START: ("POST", "/start", 202),
    Input.STOP: ("POST", "/stop", 202),
    Input.DELETE: ("DELETE", "", 200),
}
_NAME = re.compile(r"[!-~]+")
# A kept-alive connection that the agent has closed meanwhile: that says nothing about the request.
_GONE = (ConnectionResetError, BrokenPipeError, type(None))


class RequestSenders:
    """Sends requests to one agent, as many at a time as there are connections; they are made when needed."""

    def __init__(self, endpoint: str, mailbox: Mailbox, most_connections: int) -> None:
        self.address = Address(endpoint, mailbox)
        self.mailbox = mailbox
        self._left = most_connections
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[Request, float]] = deque()
        self._probe: _Probe | None = None

    def probe(self) -> None:
        """Ask the agent for its resources, just to see whether it answers."""
        if self._probe is None:
            self._probe = _Probe(self.address, self.mailbox)
        self._probe.ask()

    def send(self, request: Request, lease_until: float) -> None:
        """Send it; the reply comes to the mailbox.

        It is not sent from `lease_until` (boot seconds) on: the process may be stopped in between.
        """
        if self._idle:
            self._idle.pop().exchange(request, lease_until)
        elif self._left:
            self._left -= 1
            _Connection(self).exchange(request, lease_until)
        else:
            self._waiting.append((request, lease_until))

    def free(self, connection: _Connection) -> None:
        """This connection has done its request."""
        if self._waiting:
            connection.exchange(*self._waiting.popleft())
        else:
            self._idle.append(connection)


class _Connection:
    """One connection, and the request on it."""

    def __init__(self, senders: RequestSenders) -> None:
        self._senders = senders
        self._mailbox = senders.mailbox
        self._wire = Wire(senders.address, senders.mailbox, self)
        self._request: Request | None = None
        self._lease_until = 0.0
        self._what = ""
        self._right = 0
        self._bytes = b""
        self._kept_alive = False
        self._reply = ReplyParser()
        self._body = b""
        self.due_at = NEVER
        self._mailbox.time(self)

    def exchange(self, request: Request, lease_until: float) -> None:
        """Send this request, over a new connection if need be."""
        verb, suffix, self._right = _VERBS[request.step]
        path = f"/api/v0/containers/{request.task}{suffix}"
        self._request, self._lease_until, self._what = request, lease_until, f"{verb} {path}"
        if not _NAME.fullmatch(request.task):
            self._ends("unanswered", "the task's name can't be part of a request")
            return
        length = f"Content-Length: {len(request.body)}\r\n" if request.body or verb != "DELETE" else ""
        head = f"{verb} {path} HTTP/1.1\r\nHost: {self._senders.address.header}\r\n{length}\r\n"
        self._bytes = head.encode() + request.body
        self._kept_alive = self._wire.is_open
        self._begin()

    def connected(self) -> None:
        """The connection is there: send on it."""
        self._send()

    def received(self, data: bytes) -> None:
        """A piece of the reply."""
        if self._request is None:
            self._wire.close()  # nobody has asked
            return
        try:
            self._body += self._reply.feed(data)
        except BadReplyError as problem:
            self._wire.close()
            self._ends("unanswered", str(problem))
            return
        if self._reply.done or len(self._body) > LARGEST_REPLY_BYTES:
            self._replied()

    def lost(self, error: OSError | None) -> None:
        """The connection has broken, or could not be made."""
        if self._request is None:
            return
        if self._reply.ended():
            self._replied()
        elif self._kept_alive and not self._reply.began and isinstance(error, _GONE):
            self._kept_alive = False
            self._begin()
        else:
            self._ends("unanswered", "the agent has closed the connection" if error is None else said(error))

    def due(self) -> None:
        """The reply has not come in time."""
        self._wire.close()
        self._ends("unanswered", "timed out")

    def _begin(self) -> None:
        self._reply, self._body = ReplyParser(), b""
        self.due_at = time.monotonic() + REQUEST_SECONDS
        if self._wire.is_open:
            self._send()
        elif self._may_send():
            self._wire.open()

    def _send(self) -> None:
        if self._may_send():
            self._wire.send(self._bytes)

    def _may_send(self) -> bool:
        if boot_seconds() < self._lease_until:
            return True
        # Rare, and a first try may have arrived: taken for one of which nothing is known.
        self._ends("unanswered", "the lease ran out before it was sent")
        return False

    def _replied(self) -> None:
        if not self._reply.done or not self._reply.keep_alive:
            self._wire.close()
        status = self._reply.status
        if status == self._right:
            self._ends("accepted", "")
            return
        text = self._body[:LARGEST_REPLY_BYTES].decode("utf-8", "replace").strip()
        self._ends(*judge(status, self._right, f"the agent answered {status} {text}"))

    def _ends(self, outcome: Outcome, error: str) -> None:
        request, self._request, self.due_at = self._request, None, NEVER
        if request is not None:
            words = f"{self._what}: {error}" if error else ""
            self._mailbox.put(Replied(request.task, request.step, outcome, words))
            self._senders.free(self)


class _Probe:
    """The question whether an agent is there; any answer is one. On a connection of its own."""

    def __init__(self, address: Address, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._wire = Wire(address, mailbox, self)
        self._question = (
            f"GET /api/v0/resources HTTP/1.1\r\nHost: {address.header}\r\nConnection: close\r\n\r\n".encode()
        )
        self.due_at = NEVER
        mailbox.time(self)

    def ask(self) -> None:
        """Ask; the answer comes to the mailbox."""
        self.due_at = time.monotonic() + PROBE_SECONDS
        self._wire.open()

    def connected(self) -> None:
        """Say it."""
        self._wire.send(self._question)

    def received(self, data: bytes) -> None:
        """It answers."""
        self._ends("" if data.startswith(b"HTTP/1.") else f"it answers {data[:60]!r}")

    def lost(self, error: OSError | None) -> None:
        """It does not."""
        self._ends("it has closed the connection" if error is None else said(error))

    def due(self) -> None:
        """It has had its time."""
        self._ends("timed out")

    def _ends(self, error: str) -> None:
        self.due_at = NEVER
        self._wire.close()
        self._mailbox.put(Probed(error))


def judge(status: int, right: int, words: str) -> tuple[Outcome, str]:
    """A 409 or 404 means that the agent's containers are not what its stream made us believe."""
    if status == right:
        return "accepted", ""
    return ("contradicted" if status in (404, 409) else "refused"), words
