"""Server-sent events: the same events however the bytes are cut, and a limit to what is held."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rules_made import PROPERTY

from scheduling.sse import Event, EventParser, EventTooLargeError


def expected(stream: bytes) -> list[Event]:
    """The specification, read simply over the whole stream: lines, then fields, then blank lines dispatch."""
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    events: list[Event] = []
    last_id, kind, data = "", "", b""
    for line in lines:
        field, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if line == b"":
            if data:
                events.append(Event(last_id, kind or "message", data[:-1]))
            kind, data = "", b""
        elif field == b"data":
            data += value + b"\n"
        elif field == b"event":
            kind = value.decode("utf-8", "replace")
        elif field == b"id" and b"\0" not in value:
            last_id = value.decode("utf-8", "replace")
    return events


LINE_ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])
LINES = st.sampled_from(
    [
        *(b"", b"", b"data: x", b"data:y", b"data:  z", b"data", b"data:", b": comment", b"event: done"),
        *(b"id: 7", b"id: \x00", b"id", b"retry: 5", b"Data: no", b"data : no", b"data: \xff", b":"),
        "data: é€".encode(),
    ]
)
STREAMS = st.lists(st.tuples(LINES, LINE_ENDS), max_size=20).map(
    lambda lines: b"".join(line + end for line, end in lines)
)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)] or [b""]


@PROPERTY
@given(STREAMS, st.lists(st.integers(0, 400), max_size=12), st.booleans())
@example(b"data: x\r\n\r\n", [8, 10], True)
def test_any_cut_of_the_bytes_gives_the_same_events(
    stream: bytes, places: list[int], empty_between: bool
) -> None:
    parser = EventParser()
    events: list[Event] = []
    for piece in cut(stream, places):
        events += parser.feed(piece)
        if empty_between:
            events += parser.feed(b"")
    assert events == expected(stream)


@PROPERTY
@given(STREAMS)
def test_byte_by_byte_gives_the_same_events(stream: bytes) -> None:
    parser = EventParser()
    events = [event for byte in stream for event in parser.feed(bytes([byte]))]
    assert events == expected(stream)


@PROPERTY
@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=5))
def test_rubbish_never_breaks_the_parser(stream: bytes, places: list[int]) -> None:
    parser = EventParser()
    events = [event for piece in cut(stream, places) for event in parser.feed(piece)]
    assert events == expected(stream)


def test_an_event_as_agents_send_it() -> None:
    assert EventParser().feed(b'data: {"a":1}\n\n') == [Event("", "message", b'{"a":1}')]


def test_all_its_fields() -> None:
    stream = b": hello\nid: 3\nevent: change\ndata: one\ndata: two\n\ndata: three\n\n"
    assert EventParser().feed(stream) == [
        Event("3", "change", b"one\ntwo"),
        Event("3", "message", b"three"),
    ]


def test_an_event_without_data_is_none_but_its_id_counts() -> None:
    assert EventParser().feed(b"event: x\nid: 9\n\ndata: y\n\n") == [Event("9", "message", b"y")]


def test_an_event_is_there_only_when_its_blank_line_is() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x\n") == []
    assert parser.feed(b"\n") == [Event("", "message", b"x")]
    assert parser.feed(b"data: the stream ends in the middle") == []


@pytest.mark.parametrize(
    "endless",
    [b"data: x\n", b"data\n", b"x", b": ", b"data: yyyyyyyyyyyy\r\n"],
    ids=["data lines", "empty data lines", "a line without end", "a comment without end", "with returns"],
)
def test_an_event_without_end_is_given_up(endless: bytes) -> None:
    parser = EventParser(largest_bytes=1000)
    with pytest.raises(EventTooLargeError, match="an event has more than 1000 bytes"):
        for _ in range(1100):
            parser.feed(endless)


def test_many_small_events_are_no_large_one() -> None:
    parser = EventParser(largest_bytes=1000)
    assert len(parser.feed(b"data: 0123456789\n\n" * 1000)) == 1000
    assert all(len(parser.feed(b": a comment\ndata: 0123456789\n\n")) == 1 for _ in range(1000))


def test_an_event_at_the_limit_is_taken() -> None:
    parser = EventParser(largest_bytes=100)
    line = b"data: " + b"x" * 94
    assert parser.feed(line) == []
    (event,) = parser.feed(b"\n\n")
    assert len(event.data) == 94
    with pytest.raises(EventTooLargeError):
        parser.feed(line + b"x")
