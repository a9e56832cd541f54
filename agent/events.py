"""Who watches this host, and what each of them has not been told yet.

An event is put together from parts that were encoded once for everybody. What a watcher was not
ready to take waits in a map, newest value per container: a slow one misses steps, never the outcome,
and costs no more memory than the host has containers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

from scheduling.canonical import go_text

# No blank line after it: the first schedulers would take that for the end of an event.
KEEP_ALIVE = b": still here\n"


def state_event(resources: bytes, containers: Mapping[str, bytes]) -> bytes:
    """One StateEvent on the wire, from encoded HostResources and ContainerInstances."""
    encoded = (go_text(name).encode() + b":" + containers[name] for name in sorted(containers))
    return b'data: {"resources":' + resources + b',"containers":{' + b",".join(encoded) + b"}}\n\n"


class Hub:
    """All watchers of the host; lives in the event loop's thread."""

    def __init__(self, keep_alive_seconds: float) -> None:
        self._keep_alive_seconds = keep_alive_seconds
        self._watchers: set[_Watcher] = set()
        self._closed = False

    def publish(self, container_id: str, encode: Callable[[], bytes]) -> None:
        """Tell everybody of a container's new value; encoded once, and not at all if nobody watches."""
        if not self._watchers:
            return
        encoded = encode()
        for watcher in self._watchers:
            watcher.news[container_id] = encoded
            watcher.woken.set()

    async def watch(
        self, snapshot: Callable[[], Mapping[str, bytes]], resources: Callable[[], bytes]
    ) -> AsyncIterator[bytes]:
        """The event stream of one watcher: the full state at once, then changes, until it leaves."""
        watcher = _Watcher()
        self._watchers.add(watcher)
        try:
            yield state_event(resources(), snapshot())
            while not self._closed:
                try:
                    async with asyncio.timeout(self._keep_alive_seconds):
                        await watcher.woken.wait()
                except TimeoutError:
                    yield KEEP_ALIVE
                    continue
                watcher.woken.clear()
                if watcher.news:
                    news, watcher.news = watcher.news, {}
                    yield state_event(resources(), news)
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for watcher in self._watchers:
            watcher.woken.set()


class _Watcher:
    def __init__(self) -> None:
        self.news: dict[str, bytes] = {}
        self.woken = asyncio.Event()
