"""The mailbox of a state machine: the actor is woken, nothing is lost, and time is kept."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator

import pytest

from actors.agent_link import NEVER, Broken, Mailbox
from config.bounds import AGENT_READ_BYTES


class Reader:
    """Owns one end of a pair, and tells the mailbox what comes there."""

    def __init__(self, mailbox: Mailbox, end: socket.socket) -> None:
        self._mailbox, self._end = mailbox, end
        self.due_at = NEVER
        mailbox.own(end.fileno(), self, select.EPOLLIN)
        mailbox.time(self)

    def ready(self, _mask: int) -> None:
        self._mailbox.put(Broken(self._end.recv(AGENT_READ_BYTES).decode()))

    def due(self) -> None:
        self.due_at = NEVER
        self._mailbox.put(Broken("due"))


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def readable(mailbox: Mailbox) -> bool:
    return bool(select.select([mailbox.fileno()], [], [], 0)[0])


def test_it_is_readable_while_there_is_something(pair: tuple[socket.socket, socket.socket]) -> None:
    mailbox = Mailbox()
    Reader(mailbox, pair[0])
    assert not readable(mailbox)
    pair[1].send(b"one")
    assert readable(mailbox)
    assert mailbox.drain() == [Broken("one")]
    assert not readable(mailbox)
    assert mailbox.drain() == []


def test_what_is_not_read_yet_waits(pair: tuple[socket.socket, socket.socket]) -> None:
    mailbox = Mailbox()
    Reader(mailbox, pair[0])
    pair[1].send(b"one")
    mailbox.put(Broken("before"))
    assert mailbox.due_within() == 0.0, "what was put is news, though nothing is readable"
    assert mailbox.drain(60.0) == [Broken("before"), Broken("one")]
    assert mailbox.due_within() is None


def test_it_says_when_something_is_due(pair: tuple[socket.socket, socket.socket]) -> None:
    mailbox = Mailbox()
    reader = Reader(mailbox, pair[0])
    assert mailbox.due_within() is None
    reader.due_at = time.monotonic() + 60.0
    within = mailbox.due_within()
    assert within is not None
    assert 50.0 < within <= 60.0
    assert mailbox.drain() == []
    reader.due_at = time.monotonic()
    assert mailbox.drain() == [Broken("due")]


def test_a_descriptor_that_is_disowned_tells_nobody(pair: tuple[socket.socket, socket.socket]) -> None:
    mailbox = Mailbox()
    Reader(mailbox, pair[0])
    pair[1].send(b"one")
    mailbox.disown(pair[0].fileno())
    assert not readable(mailbox)
    assert mailbox.drain() == []
