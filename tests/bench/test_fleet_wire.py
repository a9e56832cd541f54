"""The fleet's HTTP: requests cut anywhere, pipelined, too large, or none at all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.fleet_wire import (
    LARGEST_BODY_BYTES,
    LARGEST_HEAD_BYTES,
    Request,
    RequestParser,
    WireError,
    chunk,
)

PUT = b"PUT /api/v0/containers/a HTTP/1.1\r\nHost: h\r\ncontent-length: 5\r\n\r\nhello"
GET = b"GET /api/v0/containers HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
CLOSE = b"POST /x HTTP/1.1\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n"


@settings(deadline=None)
@given(st.lists(st.integers(0, len(PUT + GET + CLOSE)), max_size=6))
def test_pipelined_requests_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    data = PUT + GET + CLOSE
    parser = RequestParser()
    found: list[Request] = []
    edges = [0, *sorted(cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        parser.feed(data[start:end])
        while (request := parser.next()) is not None:
            found.append(request)
    assert found == [
        Request(b"PUT", b"/api/v0/containers/a", b"hello", False, False),
        Request(b"GET", b"/api/v0/containers", b"", True, False),
        Request(b"POST", b"/x", b"", False, True),
    ]


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nContent-Length: many\r\n\r\n", b"400"),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
        (b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (LARGEST_BODY_BYTES + 1), b"413"),
        (b"x" * (LARGEST_HEAD_BYTES + 1), b"431"),
    ],
)
def test_what_is_no_request_is_answered_and_the_connection_closed(data: bytes, status: bytes) -> None:
    parser = RequestParser()
    parser.feed(data)
    with pytest.raises(WireError) as caught:
        parser.next()
    assert caught.value.reply.startswith(b"HTTP/1.1 " + status)
    assert b"Connection: close" in caught.value.reply


def test_an_old_client_is_not_kept_alive() -> None:
    parser = RequestParser()
    parser.feed(b"GET / HTTP/1.0\r\n\r\n")
    request = parser.next()
    assert request is not None
    assert request.close


def test_a_chunk_says_its_size_in_hex() -> None:
    assert chunk(b"a" * 26) == b"1a\r\n" + b"a" * 26 + b"\r\n"
