"""Requests to one agent: a few kept-alive connections, one request at a time on each."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from actors.agent_link import NEVER, Mailbox, Probed, Replied
from actors.agent_questions import Question, Verdict
from actors.agent_replies import BadReplyError, ReplyParser
from actors.agent_wire import Address, Wire, said
from actors.hosts import boot_seconds
from config.bounds import AGENT_BODY_BYTES, LARGEST_REPLY_BYTES
from scheduling.executor import Request

REQUEST_SECONDS = 15.0
PROBE_SECONDS = 5.0
# Of an item of a batch, without its name and config; and more than that.
_ITEM_BYTES = 100
# A kept-alive connection that the agent has closed meanwhile: that says nothing about the request.
_GONE = (ConnectionResetError, BrokenPipeError, type(None))


class RequestSenders:
    """Sends requests to one agent, as many at a time as there are connections; they are made when needed."""

    def __init__(self, endpoint: str, mailbox: Mailbox, most_connections: int) -> None:
        self.address = Address(endpoint, mailbox)
        self.mailbox = mailbox
        self._left = most_connections
        self._idle: list[_Connection] = []
        self._waiting: deque[tuple[Question, float]] = deque()
        # So many the agent takes in one request; 0: only one at a time, as v0 does.
        self.batch_items = 0
        self._probe: _Probe | None = None

    def probe(self) -> None:
        """Ask the agent for its resources, just to see whether it answers."""
        if self._probe is None:
            self._probe = _Probe(self.address, self.mailbox)
        self._probe.ask()

    def send(self, requests: list[Request], lease_until: float) -> None:
        """Send them; the replies come to the mailbox.

        Nothing is sent from `lease_until` (boot seconds) on: the process may be stopped in between.
        """
        for group in _groups(requests, max(self.batch_items, 1)):
            question = Question(group, self.address.header)
            if self._idle:
                self._idle.pop().exchange(question, lease_until)
            elif self._left:
                self._left -= 1
                _Connection(self).exchange(question, lease_until)
            else:
                self._waiting.append((question, lease_until))

    def free(self, connection: _Connection) -> None:
        """This connection has done its request."""
        if self._waiting:
            connection.exchange(*self._waiting.popleft())
        else:
            self._idle.append(connection)


def _groups(requests: list[Request], most: int) -> Iterator[tuple[Request, ...]]:
    """What is asked for in one request each: no more of them, and no more bytes, than the agent takes."""
    group: list[Request] = []
    configs: set[bytes] = set()
    size = 0
    for request in requests:
        config = 0 if request.body in configs else len(request.body)
        item = len(request.task) + _ITEM_BYTES
        if group and (len(group) == most or size + item + config > AGENT_BODY_BYTES):
            yield tuple(group)
            group, configs, size, config = [], set(), 0, len(request.body)
        group.append(request)
        configs.add(request.body)
        size += item + config
    if group:
        yield tuple(group)


class _Connection:
    """One connection, and the request on it."""

    def __init__(self, senders: RequestSenders) -> None:
        self._senders = senders
        self._mailbox = senders.mailbox
        self._wire = Wire(senders.address, senders.mailbox, self)
        self._question: Question | None = None
        self._lease_until = 0.0
        self._kept_alive = False
        self._reply = ReplyParser()
        self._body = b""
        self.due_at = NEVER
        self._mailbox.time(self)

    def exchange(self, question: Question, lease_until: float) -> None:
        """Ask this, over a new connection if need be."""
        self._question, self._lease_until = question, lease_until
        if question.problem:
            self._fails(question.problem)
            return
        self._kept_alive = self._wire.is_open
        self._begin()

    def connected(self) -> None:
        """The connection is there: send on it."""
        self._send()

    def received(self, data: bytes) -> None:
        """A piece of the reply."""
        if self._question is None:
            self._wire.close()  # nobody has asked
            return
        try:
            self._body += self._reply.feed(data)
        except BadReplyError as problem:
            self._wire.close()
            self._fails(str(problem))
            return
        if self._reply.done or len(self._body) > LARGEST_REPLY_BYTES:
            self._replied()

    def lost(self, error: OSError | None) -> None:
        """The connection has broken, or could not be made."""
        if self._question is None:
            return
        if self._reply.ended():
            self._replied()
        elif self._kept_alive and not self._reply.began and isinstance(error, _GONE):
            self._kept_alive = False
            self._begin()
        else:
            self._fails("the agent has closed the connection" if error is None else said(error))

    def due(self) -> None:
        """The reply has not come in time."""
        self._wire.close()
        self._fails("timed out")

    def _begin(self) -> None:
        self._reply, self._body = ReplyParser(), b""
        self.due_at = time.monotonic() + REQUEST_SECONDS
        if self._wire.is_open:
            self._send()
        elif self._may_send():
            self._wire.open()

    def _send(self) -> None:
        if self._question is not None and self._may_send():
            self._wire.send(self._question.data)

    def _may_send(self) -> bool:
        if boot_seconds() < self._lease_until:
            return True
        # Rare, and a first try may have arrived: taken for one of which nothing is known.
        self._fails("the lease ran out before it was sent")
        return False

    def _replied(self) -> None:
        if not self._reply.done or not self._reply.keep_alive:
            self._wire.close()
        if self._question is not None:
            self._ends(self._question.answered(self._reply.status, self._body))

    def _fails(self, error: str) -> None:
        if self._question is not None:
            self._ends(self._question.failed("unanswered", error))

    def _ends(self, verdicts: list[Verdict]) -> None:
        question, self._question, self.due_at = self._question, None, NEVER
        if question is not None:
            for request, (outcome, error) in zip(question.requests, verdicts, strict=True):
                self._mailbox.put(Replied(request.task, request.step, outcome, error))
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
