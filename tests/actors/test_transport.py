"""What a message between actors has to be to be read: signed with our secret, lately, and bounded in size."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from thespian.system.transport.streamBuffer import ReceiveBuffer

from actors import transport
from actors.transport import ForgedMessageError, SignedPickle, StaleMessageError
from config.bounds import LARGEST_MESSAGE_BYTES, OLDEST_MESSAGE_SECONDS

ROOT = Path(__file__).parents[2]
SIGNED = SignedPickle(b"s" * 32)


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """It is so many seconds later than it is."""
    now = time.time()
    monkeypatch.setattr("actors.transport.time.time", lambda: now + seconds)


@given(st.one_of(st.integers(), st.text(), st.lists(st.binary(max_size=20), max_size=5)))
def test_what_was_signed_is_read(value: object) -> None:
    assert SIGNED.loads(SIGNED.dumps(value)) == value
    assert SIGNED.loads(bytearray(SIGNED.dumps(value))) == value


@given(st.data())
def test_one_changed_bit_is_refused_wherever_it_is(data: st.DataObject) -> None:
    message = bytearray(SIGNED.dumps({"a": 1}))
    bit = data.draw(st.integers(0, len(message) * 8 - 1))
    message[bit // 8] ^= 1 << bit % 8
    with pytest.raises(ForgedMessageError):
        SIGNED.loads(bytes(message))


@given(st.integers(0, 200))
def test_a_part_of_a_message_is_refused(length: int) -> None:
    message = SIGNED.dumps("x" * 300)
    with pytest.raises(ForgedMessageError):
        SIGNED.loads(message[:length])


def test_another_secret_is_refused() -> None:
    with pytest.raises(ForgedMessageError):
        SignedPickle(b"t" * 32).loads(SIGNED.dumps(1))


@pytest.mark.parametrize("sign", [-1, 1])
def test_an_old_message_is_refused_and_one_from_the_future(
    monkeypatch: pytest.MonkeyPatch, sign: int
) -> None:
    message = SIGNED.dumps((1, 2))
    at(monkeypatch, sign * (OLDEST_MESSAGE_SECONDS - 1))
    assert SIGNED.loads(message) == (1, 2)
    at(monkeypatch, sign * 2)
    with pytest.raises(StaleMessageError):
        SIGNED.loads(message)


def test_an_acknowledgement_is_signed_once_for_a_long_life(monkeypatch: pytest.MonkeyPatch) -> None:
    acknowledgement = SIGNED.dumps("ACK")
    at(monkeypatch, 10 * OLDEST_MESSAGE_SECONDS)
    assert SIGNED.loads(acknowledgement) == "ACK"


# --- what has come in part ---


def buffers() -> Any:
    return transport._bounded(ReceiveBuffer)


@pytest.mark.parametrize("size", [LARGEST_MESSAGE_BYTES + 1, -5])
def test_a_length_out_of_bounds_is_refused_at_once(size: int) -> None:
    with pytest.raises(ForgedMessageError):
        buffers()(SIGNED.loads).addMore(b"%d>x" % size)


def test_a_message_is_put_together_of_pieces() -> None:
    body = SIGNED.dumps(b"m" * 5000)
    frame = b"%d>" % len(body) + body
    buffer = buffers()(SIGNED.loads)
    for start in range(0, len(frame), 700):
        buffer.addMore(frame[start : start + 700])
    assert buffer.isDone()
    assert buffer.completed() == (b"m" * 5000, b"")


def test_a_large_message_takes_time_in_proportion() -> None:
    """A buffer that is copied for each piece would take minutes of its reader for what a stranger sends."""
    buffer = buffers()(SIGNED.loads)
    buffer.addMore(b"%d>" % LARGEST_MESSAGE_BYTES)
    piece = bytes(4096)
    began = time.process_time()
    for _ in range(10_000):
        buffer.addMore(piece)
    assert time.process_time() - began < 2.0


def test_all_unread_messages_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_UNREAD_BYTES", 10_000)
    kind = buffers()
    first, second = kind(SIGNED.loads), kind(SIGNED.loads)
    first.addMore(b"9000>" + bytes(6000))
    with pytest.raises(ForgedMessageError):
        second.addMore(b"9000>" + bytes(6000))
    del first, second
    assert kind.unread_bytes == 0, "what was closed counts no more"
    third = kind(SIGNED.loads)
    third.addMore(b"9000>" + bytes(6000))


def test_an_address_is_that_one_only(tmp_path: Path) -> None:
    """As shipped all addresses of a host, and loopback, are equal: another host's might be taken for ours."""
    program = (
        "import sys, pathlib\n"
        "from actors.transport import secure\n"
        "secure(b'x' * 32, '127.0.0.9', pathlib.Path(sys.argv[1]))\n"
        "from thespian.actors import ActorAddress\n"
        "from thespian.system.transport.IPBase import TCPv4ActorAddress\n"
        "from actors.hosts import is_remote\n"
        "ours, other = (ActorAddress(TCPv4ActorAddress(each, 4000)) for each in ('127.0.0.9', '127.0.0.1'))\n"
        "print(ours == other, is_remote(ours), is_remote(other), str(ours) == str(other))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["False", "False", "True", "False"]
