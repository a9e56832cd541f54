"""What the command lease needs of the world: one clock a host, who is on another, requests that stay home."""

from __future__ import annotations

import multiprocessing
import socket
import time
from collections.abc import Iterator

import pytest
from thespian.actors import ActorAddress
from thespian.system.transport.IPBase import TCPv4ActorAddress

from actors.agent_link import Mailbox, Replied
from actors.agent_requests import RequestSenders
from actors.hosts import boot_seconds, is_remote
from scheduling.executor import Request
from scheduling.lifecycle import Input

DEADLINE_SECONDS = 10.0


def test_an_actor_is_remote_when_its_host_is_not_this_one() -> None:
    assert not is_remote(ActorAddress(TCPv4ActorAddress("127.0.0.1", 4000)))
    assert is_remote(ActorAddress(TCPv4ActorAddress("192.0.2.7", 4000)))
    assert not is_remote(ActorAddress(object())), "a child that was just made here has no host yet"


def test_all_processes_of_a_host_have_one_clock() -> None:
    before = boot_seconds()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(boot_seconds)
    assert before <= there <= boot_seconds()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """An agent's port; whoever connects is seen, and let go."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(DEADLINE_SECONDS)
        yield server


def replied(mailbox: Mailbox) -> Replied:
    """What became of the request."""
    give_up_at = time.monotonic() + DEADLINE_SECONDS
    while not (happened := mailbox.drain()):
        assert time.monotonic() < give_up_at, "no reply"
    (reply,) = happened
    assert isinstance(reply, Replied)
    return reply


def test_a_request_whose_lease_has_run_out_is_not_sent(listener: socket.socket) -> None:
    """Its process may have been stopped since the state machine looked."""
    mailbox = Mailbox()
    senders = RequestSenders(f"http://127.0.0.1:{listener.getsockname()[1]}", mailbox, 1)
    senders.send([Request(task="late", step=Input.STOP)], boot_seconds())
    late = replied(mailbox)
    assert (late.task, late.outcome) == ("late", "unanswered")
    assert "the lease ran out" in late.error

    senders.send([Request(task="timely", step=Input.STOP)], boot_seconds() + DEADLINE_SECONDS)
    connection, _ = listener.accept()
    with connection:
        mailbox.drain(DEADLINE_SECONDS)  # connected, and sent
        assert b"/timely/" in connection.recv(4096), "the first that came, so the late one was not sent"
