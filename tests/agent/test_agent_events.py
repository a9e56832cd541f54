"""The hub: full state first, then changes, each encoded once; the newest wins for who is slow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from agent.events import KEEP_ALIVE, Hub, state_event

_T = TypeVar("_T")


def run(story: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(asyncio.wait_for(story, 10))


def watch(hub: Hub, **containers: bytes) -> AsyncIterator[bytes]:
    return hub.watch(lambda: containers, lambda: b"R")


def test_an_event_on_the_wire() -> None:
    event = state_event(b"{}", {"b-0": b"B", "a<0": b"A"})
    assert event == b'data: {"resources":{},"containers":{"a\\u003c0":A,"b-0":B}}\n\n'
    assert state_event(b"{}", {}) == b'data: {"resources":{},"containers":{}}\n\n'


def test_full_state_first_then_changes() -> None:
    async def story() -> None:
        hub = Hub(10)
        stream = watch(hub, a=b"1", b=b"1")
        assert await anext(stream) == state_event(b"R", {"a": b"1", "b": b"1"})
        hub.publish("a", lambda: b"2")
        assert await anext(stream) == state_event(b"R", {"a": b"2"})
        hub.publish("b", lambda: b"2")
        assert await anext(stream) == state_event(b"R", {"b": b"2"})

    run(story())


def test_a_slow_watcher_gets_the_newest_of_each_in_one_event() -> None:
    async def story() -> None:
        hub = Hub(10)
        stream = watch(hub)
        await anext(stream)
        for value in range(1000):
            hub.publish(f"c{value % 3}", str(value).encode)
        assert await anext(stream) == state_event(b"R", {"c0": b"999", "c1": b"997", "c2": b"998"})
        following = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        hub.publish("c0", lambda: b"last")
        assert await following == state_event(b"R", {"c0": b"last"})

    run(story())


def test_what_happens_between_the_full_state_and_the_first_wait_is_not_lost() -> None:
    async def story() -> None:
        hub = Hub(10)
        stream = watch(hub, a=b"1")
        await anext(stream)
        hub.publish("a", lambda: b"2")
        assert await anext(stream) == state_event(b"R", {"a": b"2"})

    run(story())


def test_a_change_is_encoded_once_for_all_and_not_at_all_for_nobody() -> None:
    async def story() -> None:
        encoded = []

        def encode() -> bytes:
            encoded.append(1)
            return b"1"

        hub = Hub(10)
        hub.publish("a", encode)
        assert encoded == []
        streams = [watch(hub) for _ in range(5)]
        for stream in streams:
            await anext(stream)
        hub.publish("a", encode)
        assert [await anext(stream) for stream in streams] == [state_event(b"R", {"a": b"1"})] * 5
        assert encoded == [1]

    run(story())


def test_silence_is_filled_with_comments_that_end_no_event() -> None:
    async def story() -> None:
        hub = Hub(0.01)
        stream = watch(hub)
        await anext(stream)
        assert await anext(stream) == await anext(stream) == KEEP_ALIVE
        hub.publish("a", lambda: b"1")
        assert await anext(stream) == state_event(b"R", {"a": b"1"})

    assert KEEP_ALIVE.startswith(b":")
    assert KEEP_ALIVE.count(b"\n") == 1
    run(story())


def test_who_leaves_is_forgotten_and_closing_ends_all() -> None:
    async def story() -> None:
        hub = Hub(10)
        leaving, staying = watch(hub), watch(hub)
        await anext(leaving)
        await anext(staying)
        await leaving.aclose()  # type: ignore[attr-defined]
        hub.close()
        assert [event async for event in staying] == []

        def encode() -> bytes:
            raise AssertionError("nobody watches any more")

        hub.publish("a", encode)

    run(story())
