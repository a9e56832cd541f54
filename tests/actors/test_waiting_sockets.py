"""What Thespian's loop waits with: for what the loop asks of it, as those of the standard library."""

from __future__ import annotations

import selectors
import socket

import pytest

from actors import waiting_sockets


@pytest.mark.parametrize("kind", [waiting_sockets.DefaultSelector, selectors.DefaultSelector])
def test_it_says_what_is_ready(kind: type[waiting_sockets.DefaultSelector]) -> None:
    quiet, busy = socket.socketpair(), socket.socketpair()
    ended = socket.socketpair()
    busy[1].send(b"!")
    ended[1].close()
    selector = kind()
    for each in (quiet[0], busy[0], ended[0]):
        selector.register(each.fileno(), waiting_sockets.EVENT_READ)
    selector.register(quiet[1].fileno(), waiting_sockets.EVENT_WRITE)
    ready = {key.fd: event for key, event in selector.select(10.0)}
    selector.close()
    assert ready[busy[0].fileno()] & waiting_sockets.EVENT_READ
    assert ready[ended[0].fileno()] & waiting_sockets.EVENT_READ, "so that its end is read"
    assert ready[quiet[1].fileno()] & waiting_sockets.EVENT_WRITE
    assert quiet[0].fileno() not in ready
    for each in (*quiet, *busy, ended[0]):
        each.close()


@pytest.mark.parametrize("seconds", [0, 0.001, -1.0])
def test_it_waits_no_longer_than_told(seconds: float) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        selector = waiting_sockets.DefaultSelector()
        selector.register(ours.fileno(), waiting_sockets.EVENT_READ)
        assert selector.select(seconds) == []


def test_a_closed_descriptor_is_said_to_be_bad() -> None:
    ours, theirs = socket.socketpair()
    descriptor = ours.fileno()
    ours.close()
    theirs.close()
    selector = waiting_sockets.DefaultSelector()
    selector.register(descriptor, waiting_sockets.EVENT_READ)
    with pytest.raises(OSError, match="Bad file descriptor"):
        selector.select(0)
    with pytest.raises(ValueError, match="negative"):
        selector.register(-1, waiting_sockets.EVENT_READ)
