"""The network side of a state machine: one thread reads the agent's event stream, a few send requests.

Threads must not send actor messages. They put what happened on a queue and make a descriptor readable,
which the actor watches. Requests go through http.client on kept-alive connections: of the clients that
were measured it costs the least CPU by far (docs/performance.md).
"""

from __future__ import annotations

import contextlib
import http.client
import queue
import socket
import threading
import time
from random import Random
from typing import Any
from urllib.parse import urlsplit

import msgspec

from actors.hosts import boot_seconds
from config.bounds import LARGEST_REPLY_BYTES, MAILBOX_HAPPENINGS
from config.bounds import LONGEST_RECONNECT_SECONDS as LONGEST_PAUSE_SECONDS
from scheduling.container import STATE_EVENT_DECODER, StateEvent
from scheduling.executor import Outcome, Request
from scheduling.lifecycle import Input
from scheduling.sse import EventParser, EventTooLargeError

CONNECT_SECONDS = 5.0
FIRST_EVENT_SECONDS = 15.0
REQUEST_SECONDS = 15.0
PROBE_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.2
_READ_BYTES = 256 * 1024
# A pulled cable resets nothing: the kernel asks the other side after 5 s of silence, and gives up after 11.
_KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 2), (socket.TCP_KEEPCNT, 3))

_VERBS = {
    Input.PUT: ("PUT", "", 201),
    Input.START: ("POST", "/start", 202),
    Input.STOP: ("POST", "/stop", 202),
    Input.DELETE: ("DELETE", "", 200),
}


class Saw(msgspec.Struct, frozen=True):
    """An event of the stream; `first`: it is the whole state of the agent."""

    event: StateEvent
    first: bool


class Broken(msgspec.Struct, frozen=True):
    """The stream is not there, and why; it is being connected again."""

    error: str


class Replied(msgspec.Struct, frozen=True):
    """What became of a request."""

    task: str
    step: Input
    outcome: Outcome
    error: str


class Probed(msgspec.Struct, frozen=True):
    """Whether a silent agent has answered that it is there; `error` says why it has not."""

    error: str


Happening = Saw | Broken | Replied | Probed


class Mailbox:
    """What the threads tell the actor: a queue, and a descriptor that is readable while it is not empty."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Happening] = queue.Queue(MAILBOX_HAPPENINGS)
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def fileno(self) -> int:
        """The descriptor to watch."""
        return self._reader.fileno()

    def put(self, happening: Happening) -> None:
        """Called by the threads; waits for room, so that an agent can't tell more than is taken in."""
        self._queue.put(happening)
        # When the pair is full the actor has been woken often enough.
        with contextlib.suppress(BlockingIOError):
            self._writer.send(b"!")

    def drain(self) -> list[Happening]:
        """Called by the actor: all that has happened."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass
        happenings = []
        for _ in range(self._queue.qsize()):
            happenings.append(self._queue.get_nowait())
        return happenings


class EventStream:
    """Reads one agent's stream for ever, in a thread: connect, first event, changes; after a break again."""

    def __init__(self, endpoint: str, mailbox: Mailbox, rng: Random) -> None:
        self._host, self._port = _address(endpoint)
        self._mailbox = mailbox
        self._rng = rng
        self._connection: http.client.HTTPConnection | None = None
        # When the last byte came, in monotonic seconds; keep-alive comments count too.
        self.heard_at = time.monotonic()
        threading.Thread(target=self._run, name="event-stream", daemon=True).start()

    def reconnect(self) -> None:
        """Break the stream on purpose: the new one begins with the agent's full state."""
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        failures = 0
        pause = threading.Event()  # never set: a wait that costs nothing
        while True:
            try:
                got_state = False
                for event in self._events():
                    self._mailbox.put(Saw(event, not got_state))
                    got_state, failures = True, 0
                error = "the agent has ended its event stream"
            except (OSError, http.client.HTTPException, EventTooLargeError) as problem:
                error = (
                    f"{type(problem).__name__}: {problem}"
                    if not isinstance(problem, OSError)
                    else _said(problem)
                )
            except msgspec.MsgspecError as problem:
                error = f"the agent sent an event that is none: {problem}"
            except RecursionError:
                error = "the agent sent an event that is nested too deep"
            except Exception as problem:  # noqa: BLE001 - whatever it is, the agent is only shown as not connected
                error = f"{type(problem).__name__}: {problem}"
            self._mailbox.put(Broken(error))
            failures += 1
            longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** min(failures, 10))
            pause.wait(longest * self._rng.uniform(0.5, 1.0))

    def _events(self) -> Any:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        self._connection = connection
        try:
            connection.connect()
            sock: socket.socket = connection.sock
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEP_ALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
            sock.settimeout(FIRST_EVENT_SECONDS)
            connection.request("GET", "/api/v0/containers", headers={"Accept": "text/event-stream"})
            response = connection.getresponse()
            if response.status != 200:
                raise http.client.HTTPException(f"the agent answered {response.status} to the event stream")
            parser = EventParser()
            first = True
            while data := response.read1(_READ_BYTES):
                self.heard_at = time.monotonic()
                for event in parser.feed(data):
                    yield STATE_EVENT_DECODER.decode(event.data)
                    if first:
                        # From here on silence is legitimate: an idle agent has nothing to say.
                        first = False
                        sock.settimeout(None)
        finally:
            connection.close()


class RequestSenders:
    """Sends requests to one agent, as many at a time as there are threads; they are made when needed."""

    def __init__(self, endpoint: str, mailbox: Mailbox, most_threads: int) -> None:
        self._host, self._port = _address(endpoint)
        self._mailbox = mailbox
        self._most = most_threads
        self._threads = 0
        self._idle = 0
        self._lock = threading.Lock()
        # None is the question whether the agent is there; a request comes with when its lease ends.
        self._queue: queue.SimpleQueue[tuple[Request, float] | None] = queue.SimpleQueue()

    def probe(self) -> None:
        """Ask the agent for its resources, just to see whether it answers."""
        self._hand_out(None)

    def send(self, request: Request, lease_until: float) -> None:
        """Have a thread send it; the reply comes to the mailbox.

        It is not sent from `lease_until` (boot seconds) on: the process may be stopped in between.
        """
        self._hand_out((request, lease_until))

    def _hand_out(self, request: tuple[Request, float] | None) -> None:
        with self._lock:
            if self._idle == 0 and self._threads < self._most:
                self._threads += 1
                threading.Thread(target=self._run, name="request-sender", daemon=True).start()
            elif self._idle:
                self._idle -= 1
        self._queue.put(request)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=REQUEST_SECONDS)
        while True:
            handed = self._queue.get()
            if handed is None:
                self._mailbox.put(Probed(self._ask_resources()))
            else:
                request, lease_until = handed
                outcome, error = self._exchange(connection, request, lease_until)
                self._mailbox.put(Replied(request.task, request.step, outcome, error))
            with self._lock:
                self._idle += 1

    def _ask_resources(self) -> str:
        """Why the agent has not answered; empty if it has. On a connection of its own."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=PROBE_SECONDS)
        try:
            connection.request("GET", "/api/v0/resources")
            connection.getresponse().read(LARGEST_REPLY_BYTES)
        except (OSError, http.client.HTTPException) as problem:
            return _said(problem)
        finally:
            connection.close()
        return ""

    def _exchange(
        self, connection: http.client.HTTPConnection, request: Request, lease_until: float
    ) -> tuple[Outcome, str]:
        verb, path, right = _VERBS[request.step]
        path = f"/api/v0/containers/{request.task}{path}"
        for kept_alive in (connection.sock is not None, False):
            if boot_seconds() >= lease_until:
                # Rare, and a first try may have arrived: taken for one of which nothing is known.
                return "unanswered", f"{verb} {path}: the lease ran out before it was sent"
            try:
                connection.request(verb, path, body=request.body or None)
                response = connection.getresponse()
                text = response.read(LARGEST_REPLY_BYTES).decode("utf-8", "replace").strip()
                if not response.isclosed():
                    connection.close()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError) as problem:
                connection.close()
                # A kept-alive connection may have been closed by the agent meanwhile: that says nothing.
                if not kept_alive:
                    return "unanswered", f"{verb} {path}: {problem}"
            except (OSError, http.client.HTTPException) as problem:
                connection.close()
                return "unanswered", f"{verb} {path}: {_said(problem)}"
            except Exception as problem:  # noqa: BLE001 - a request without a reply would hold its place for ever
                connection.close()
                return "unanswered", f"{verb} {path}: {type(problem).__name__}: {problem}"
            else:
                return _judge(
                    response.status, right, f"{verb} {path}: the agent answered {response.status} {text}"
                )
        raise AssertionError("the second try always returns")


def _judge(status: int, right: int, said: str) -> tuple[Outcome, str]:
    """A 409 or 404 means that the agent's containers are not what its stream made us believe."""
    if status == right:
        return "accepted", ""
    return ("contradicted" if status in (404, 409) else "refused"), said


def _address(endpoint: str) -> tuple[str, int]:
    parts = urlsplit(endpoint)
    return parts.hostname or "", parts.port or 80


def _said(problem: Exception) -> str:
    return (
        (problem.strerror if isinstance(problem, OSError) else "") or str(problem) or type(problem).__name__
    )
