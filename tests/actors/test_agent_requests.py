"""Requests and event streams over real sockets: what becomes of them when the agent does what agents do."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from random import Random

import pytest

from actors.agent_link import Broken, Happening, Mailbox, Probed, Replied, Saw
from actors.agent_requests import RequestSenders
from actors.agent_stream import EventStream
from actors.hosts import boot_seconds
from config.bounds import AGENT_BODY_BYTES
from scheduling.executor import Request
from scheduling.lifecycle import Input

DEADLINE_SECONDS = 10.0
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Agent:
    """One that does exactly what the test says."""

    def __init__(self, server: socket.socket) -> None:
        self._server = server
        server.settimeout(DEADLINE_SECONDS)
        self.mailbox = Mailbox()
        self.happened: list[Happening] = []
        self.endpoint = f"http://localhost:{server.getsockname()[1]}"

    def until(self, condition: Callable[[], object]) -> None:
        give_up_at = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < give_up_at, self.happened
            self.happened += self.mailbox.drain(0.01)

    def accept(self) -> socket.socket:
        """The next connection, while the other side goes on."""
        self._server.setblocking(False)
        accepted: list[socket.socket] = []

        def came() -> bool:
            try:
                accepted.append(self._server.accept()[0])
            except BlockingIOError:
                return False
            return True

        self.until(came)
        accepted[0].setblocking(False)
        return accepted[0]

    def read(self, connection: socket.socket, ending: bytes) -> bytes:
        """What is sent, up to this."""
        got = bytearray()

        def came() -> bool:
            try:
                got.extend(connection.recv(4096))
            except BlockingIOError:
                return False
            return got.endswith(ending)

        self.until(came)
        return bytes(got)

    def happens(self) -> Happening:
        """The next thing that happens."""
        self.until(lambda: self.happened)
        return self.happened.pop(0)


@pytest.fixture
def agent() -> Iterator[Agent]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Agent(server)


def put(task: str) -> Request:
    return Request(task=task, step=Input.PUT, body=b"{}\n")


def soon() -> float:
    return boot_seconds() + DEADLINE_SECONDS


def test_a_connection_is_used_again(agent: Agent) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 4)
    senders.send([put("a-0")], soon())
    with agent.accept() as connection:
        for task in ("a-0", "a-1"):
            if task == "a-1":
                senders.send([put(task)], soon())
            sent = agent.read(connection, b"{}\n")
            assert sent.startswith(f"PUT /api/v0/containers/{task} HTTP/1.1\r\nHost: localhost:".encode())
            assert b"\r\nContent-Length: 3\r\n" in sent
            connection.send(CREATED)
            assert agent.happens() == Replied(task, Input.PUT, "accepted", "")


def test_more_requests_than_connections_wait_for_their_turn(agent: Agent) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    for task in ("a-0", "a-1"):
        senders.send([put(task)], soon())
    with agent.accept() as connection:
        for task in ("a-0", "a-1"):
            assert f"/{task} ".encode() in agent.read(connection, b"{}\n")
            connection.send(CREATED)
            assert agent.happens() == Replied(task, Input.PUT, "accepted", "")


def test_a_kept_alive_connection_that_was_closed_says_nothing(agent: Agent) -> None:
    """The request is sent again, once, on a new one."""
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    senders.send([put("a-0")], soon())
    with agent.accept() as connection:
        agent.read(connection, b"{}\n")
        connection.send(CREATED)
        assert agent.happens() == Replied("a-0", Input.PUT, "accepted", "")
        senders.send([put("a-1")], soon())
        agent.read(connection, b"{}\n")
    with agent.accept() as connection:
        assert b"/a-1 " in agent.read(connection, b"{}\n")
    reply = agent.happens()
    assert isinstance(reply, Replied)
    assert (reply.task, reply.outcome) == ("a-1", "unanswered")
    assert "closed the connection" in reply.error


def test_the_lease_is_looked_at_again_once_the_connection_is_there(agent: Agent) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    lease_until = boot_seconds() + 0.05
    senders.send([put("late")], lease_until)
    while boot_seconds() < lease_until:
        time.sleep(0.01)
    reply = agent.happens()
    assert isinstance(reply, Replied)
    assert (reply.outcome, "the lease ran out" in reply.error) == ("unanswered", True)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"HTTP/1.1 409 Conflict\r\nContent-Length: 6\r\n\r\nexists", "contradicted"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "contradicted"),
        (b"HTTP/1.0 500 Oops\r\n\r\nno disk", "refused"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\ncut", "unanswered"),
        (b"hello?\r\n", "unanswered"),
        (b"", "unanswered"),
    ],
)
def test_what_an_answer_means(agent: Agent, answer: bytes, outcome: str) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    senders.send([put("a-0")], soon())
    with agent.accept() as connection:
        agent.read(connection, b"{}\n")
        connection.send(answer)
    reply = agent.happens()
    assert isinstance(reply, Replied)
    assert (reply.task, reply.outcome) == ("a-0", outcome)
    assert reply.error.startswith("PUT /api/v0/containers/a-0: ")


def test_a_reply_that_does_not_come_is_not_waited_for_for_ever(
    agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.agent_requests.REQUEST_SECONDS", 0.05)
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    senders.send([put("a-0")], soon())
    reply = agent.happens()
    assert isinstance(reply, Replied)
    assert (reply.outcome, "timed out" in reply.error) == ("unanswered", True)


def test_any_answer_to_a_probe_is_one(agent: Agent) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    for answer, error in ((b"HTTP/1.1 500 Oops\r\n\r\n", ""), (b"", "it has closed the connection")):
        senders.probe()
        with agent.accept() as connection:
            agent.read(connection, b"\r\n\r\n")
            connection.send(answer)
        assert agent.happens() == Probed(error)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        agent = Agent(server)
    RequestSenders(agent.endpoint, agent.mailbox, 1).send([put("a-0")], soon())
    reply = agent.happens()
    assert isinstance(reply, Replied)
    assert "refused" in reply.error.lower()
    EventStream(agent.endpoint, agent.mailbox, Random(1))
    broken = agent.happens()
    assert isinstance(broken, Broken)
    assert "refused" in broken.error.lower()


def test_a_stream_says_what_it_says_and_is_connected_again(agent: Agent) -> None:
    stream = EventStream(agent.endpoint, agent.mailbox, Random(1))
    for _ in range(2):
        with agent.accept() as connection:
            assert b"Accept: text/event-stream\r\n" in agent.read(connection, b"\r\n\r\n")
            connection.send(STREAM)
            for first in (True, False):
                event = b'data: {"containers":{"a-0":{}}}\n\n'
                connection.send(b"%x\r\n" % len(event) + event[:10])
                connection.send(event[10:] + b"\r\n")
                saw = agent.happens()
                assert isinstance(saw, Saw)
                assert (saw.first, list(saw.event.containers)) == (first, ["a-0"])
            stream.reconnect()
            assert agent.happens() == Broken("the agent has ended its event stream")


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 500 Oops\r\n\r\n", "the agent answered 500 to the event stream"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: {\n\n", "an event that is none"),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: " + b"[" * 5000 + b"\n\n", "an event that is none"),
        (b"SSH-2.0\r\n", "no status line"),
        (b"", "has ended its event stream"),
    ],
)
def test_a_stream_that_is_none_is_broken(agent: Agent, answer: bytes, error: str) -> None:
    EventStream(agent.endpoint, agent.mailbox, Random(1))
    with agent.accept() as connection:
        agent.read(connection, b"\r\n\r\n")
        connection.send(answer)
    broken = agent.happens()
    assert isinstance(broken, Broken)
    assert error in broken.error


def batch(agent: Agent, answer: bytes) -> tuple[bytes, list[Replied]]:
    """What is sent for two puts to an agent that takes batches, and what comes of them."""
    senders = RequestSenders(agent.endpoint, agent.mailbox, 1)
    senders.batch_items = 10
    senders.send([put("a-0"), put("a-1")], soon())
    with agent.accept() as connection:
        sent = agent.read(connection, b"]}")
        connection.send(
            b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n" % (answer[:6], len(answer) - 6) + answer[6:]
        )
    replies = [agent.happens(), agent.happens()]
    assert all(isinstance(reply, Replied) for reply in replies)
    return sent, [reply for reply in replies if isinstance(reply, Replied)]


def test_an_agent_that_takes_batches_gets_one_request(agent: Agent) -> None:
    results = b'{"results":[{"status":201,"text":"created OK"},{"status":409,"text":"already exists"}]}'
    sent, replies = batch(agent, b"200 OK" + results)
    assert sent.startswith(b"POST /api/v1/containers/batch HTTP/1.1\r\n")
    assert sent.endswith(
        b'{"items":[{"container_id":"a-0","step":"put","config":0},'
        b'{"container_id":"a-1","step":"put","config":0}],"configs":[{}\n]}'
    ), "the config that both share stands there once"
    assert replies[0] == Replied("a-0", Input.PUT, "accepted", "")
    assert (replies[1].task, replies[1].outcome) == ("a-1", "contradicted")
    assert "409 already exists" in replies[1].error


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b'200 OK{"results":[{"status":201,"text":"created OK"}]}', "unanswered"),
        (b"200 OKwhat?", "unanswered"),
        (b"404 NOnot found", "refused"),
        (b"500 NOno disk", "refused"),
    ],
)
def test_what_an_answer_to_a_batch_means(agent: Agent, answer: bytes, outcome: str) -> None:
    _, replies = batch(agent, answer)
    assert [(reply.task, reply.outcome) for reply in replies] == [("a-0", outcome), ("a-1", outcome)]
    assert all(reply.error.startswith("POST /api/v1/containers/batch: ") for reply in replies)


def test_a_batch_is_no_larger_than_the_agent_takes(agent: Agent) -> None:
    senders = RequestSenders(agent.endpoint, agent.mailbox, 2)
    senders.batch_items = 2
    senders.send([put("a-0"), put("a-1"), put("a-2")], soon())
    with agent.accept() as first, agent.accept() as second:
        assert agent.read(first, b"\n]}").count(b"container_id") == 2
        assert b"PUT /api/v0/containers/a-2 " in agent.read(second, b"{}\n")


def test_a_batch_has_no_more_bytes_than_the_agent_takes(agent: Agent) -> None:
    """Each would be taken alone: together they must not be refused, each time anew."""
    large = [Request(task=f"{x}-0", step=Input.PUT, body=f'"{x * 700_000}"\n'.encode()) for x in "abc"]
    senders = RequestSenders(agent.endpoint, agent.mailbox, 3)
    senders.batch_items = 10
    senders.send([large[0], put("d-0"), large[1], large[2], put("e-0")], soon())
    for tasks in (("a-0", "d-0"), ("b-0",), ("c-0", "e-0")):
        with agent.accept() as connection:
            sent = agent.read(connection, b"]}" if len(tasks) > 1 else b'"\n')
        assert len(sent) < AGENT_BODY_BYTES
        assert all(task.encode() in sent for task in tasks)
