"""HTTP replies from bytes: however they are cut, the same reply; and nonsense is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.agent_replies import BadReplyError, ReplyParser
from config.bounds import LARGEST_REPLY_HEAD_BYTES

BY_LENGTH = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nDate: now\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhe\r\n3;name=value\r\nllo\r\n0\r\nTrailer: x\r\n\r\n"
)
AFTER_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n" + BY_LENGTH
UNTIL_THE_END = b"HTTP/1.0 200 OK\r\n\r\nhello"


def take(pieces: list[bytes]) -> tuple[ReplyParser, bytes]:
    parser = ReplyParser()
    return parser, b"".join(parser.feed(piece) for piece in pieces)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    at = sorted({place % len(data) for place in places} - {0})
    return [data[start:end] for start, end in zip([0, *at], [*at, len(data)], strict=True)]


@pytest.mark.parametrize("whole", [BY_LENGTH, CHUNKED, AFTER_CONTINUE])
@given(places=st.lists(st.integers(0, 1000), max_size=8))
def test_however_it_is_cut_it_is_the_same_reply(whole: bytes, places: list[int]) -> None:
    parser, body = take(cut(whole, places))
    assert (body, parser.done, parser.keep_alive) == (b"hello", True, True)
    assert parser.status == (200 if whole is CHUNKED else 201)


@given(places=st.lists(st.integers(0, 1000), max_size=8))
def test_without_a_length_the_connections_end_is_the_replys(places: list[int]) -> None:
    parser, body = take(cut(UNTIL_THE_END, places))
    assert (body, parser.done, parser.keep_alive) == (b"hello", False, False)
    assert parser.ended()
    assert parser.done


def test_a_reply_that_is_cut_off_has_not_ended() -> None:
    for whole in (BY_LENGTH, CHUNKED):
        for length in range(len(whole)):
            parser, _ = take([whole[:length]])
            assert not parser.ended()
            assert parser.began == (length > 0) or length == 0


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", True),
    ],
)
def test_whether_the_connection_is_kept(head: bytes, kept: bool) -> None:
    parser, _ = take([head])
    assert (parser.done, parser.keep_alive) == (True, kept)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * (LARGEST_REPLY_HEAD_BYTES + 1),
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * LARGEST_REPLY_HEAD_BYTES,
        BY_LENGTH + b"HTTP/1.1 200 OK",
        CHUNKED + b"!",
    ],
)
def test_nonsense_is_refused(nonsense: bytes) -> None:
    with pytest.raises(BadReplyError):
        take([nonsense])
