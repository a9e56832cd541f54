"""`/api/v1/events`: a snapshot, then what changes, newest value per key.

There is no queue per watcher. The hub keeps the touched names in the order of their last change; a
watcher is a position in it, and is sent the present value of everything behind that position. So a slow
watcher gets fewer events and not older ones, and all who are at the same position share the same bytes.
"""

from __future__ import annotations

import asyncio
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Iterable

import falcon.asgi
import msgspec

from scheduling.job import JobKey
from web import limits
from web.cluster import ClusterState
from web.encoded import Encoded
from web.pages import Page
from web.problems import unavailable
from web.requests_in import settle
from web.streams import KEEP_ALIVE, Chunk, event
from web.touched import Touched

# ("job", key), ("task", id) or ("agent", name).
Name = tuple[str, str | JobKey]


class Hub:
    """What has changed lately, for all watchers of one worker."""

    def __init__(self, state: ClusterState, encoded: Encoded) -> None:
        self._encoded = encoded
        # Another worker, or this one started again, numbers otherwise: its cursors mean nothing here.
        self._boot = uuid.uuid4().hex[:12]
        self._head = 0
        self._floor = 0
        self._changed: OrderedDict[Name, int] = OrderedDict()
        self._values: dict[Name, bytes | None] = {}
        self._pending: dict[Name, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()
        self._batches: dict[int, Chunk] = {}
        self._snapshot: tuple[tuple[Page, ...], bytes] | None = None
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self.closed = False
        self._unsubscribe = state.listen(self._on_change)

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._watches)

    def watch(self, last_event_id: str | None) -> Watch:
        """A new watcher, from where it was if that is still known. Raises 503 when there are too many."""
        if self.closed:
            raise unavailable("this worker is about to end; try again")
        if len(self._watches) >= limits.MOST_WATCHERS:
            raise unavailable(f"{limits.MOST_WATCHERS} watch already, which is as many as one worker serves")
        self.flush()
        watch = Watch(self, self._position(last_event_id))
        self._watches.add(watch)
        return watch

    def close(self) -> None:
        """End all streams: the worker is about to end."""
        self.closed = True
        self._unsubscribe()
        self._wake()

    def flush(self) -> None:
        """Number what has changed, and wake the watchers."""
        self._timer = None
        if not self._pending:
            return
        names, self._pending = self._pending, {}
        moved = False
        for name in names:
            if self._watches:
                value = self._value(name)
                if name in self._values and self._values[name] == value:
                    continue
                self._values[name] = value
            else:
                # Nobody looks, so nothing is encoded; who comes back later gets what is then.
                self._values.pop(name, None)
            self._head += 1
            self._changed[name] = self._head
            self._changed.move_to_end(name)
            moved = True
        while len(self._changed) > limits.EVENTS_KEPT:
            name, self._floor = self._changed.popitem(last=False)
            self._values.pop(name, None)
        if moved:
            self._batches = {}
            self._wake()

    def after(self, position: int | None) -> tuple[Chunk | None, int]:
        """What a watcher at this position is to be sent (None: nothing), and its position then."""
        if position is None or position < self._floor:
            # A snapshot must show what is numbered and nothing newer: what comes and goes again before
            # it is numbered would stay with this watcher for ever.
            self.flush()
            return Chunk(event("snapshot", self._cursor(self._head), self._snapshot_data())), self._head
        if position == self._head:
            return None, position
        batch = self._batches.get(position)
        if batch is None:
            batch = Chunk(b"".join(self._events_after(position)))
            if len(self._batches) < limits.BATCHES_SHARED:
                self._batches[position] = batch
        return batch, self._head

    async def news(self) -> bool:
        """Wait for something new; False after a silence that calls for a sign of life."""
        try:
            async with asyncio.timeout(limits.KEEP_ALIVE_SECONDS):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    def _on_change(self, touched: Touched) -> None:
        self._pending.update(dict.fromkeys(_names(touched)))
        if not self._pending or self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # outside of a loop nobody watches; the next watcher flushes
        delay = limits.COLLECT_SECONDS + limits.COLLECT_SECONDS_PER_WATCHER * len(self._watches)
        self._timer = loop.call_later(delay, self._on_timer)

    def _on_timer(self) -> None:
        self.flush()
        self._drop_stuck()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _drop_stuck(self) -> None:
        """Who has not read for long is cut off, and may come back: its place is for those who read."""
        now = asyncio.get_running_loop().time()
        for watch in list(self._watches):
            watch.drop_if_stuck(now)

    def _position(self, last_event_id: str | None) -> int | None:
        boot, _, digits = (last_event_id or "").partition("-")
        if boot != self._boot or not (digits.isascii() and digits.isdigit()) or len(digits) > 18:
            return None
        return int(digits) if self._floor <= int(digits) <= self._head else None

    def _cursor(self, number: int) -> str:
        return f"{self._boot}-{number}"

    def _snapshot_data(self) -> bytes:
        shelves = (self._encoded.jobs, self._encoded.tasks, self._encoded.agents)
        pages = tuple(shelf.page() for shelf in shelves)
        if self._snapshot is None or self._snapshot[0] != pages:
            # Each page is an object of one list; the lists become one object.
            self._snapshot = (pages, b"{" + b",".join([page.body[1:-1] for page in pages]) + b"}")
        return self._snapshot[1]

    def _events_after(self, position: int) -> list[bytes]:
        newest_first: list[bytes] = []
        for name in reversed(self._changed):
            number = self._changed[name]
            if number <= position:
                break
            value = self._values[name] if name in self._values else self._value(name)
            if name not in self._pending:
                # A pending one is newer than its number: others are still to hear of it.
                self._values[name] = value
            data = value or _gone(name)
            newest_first.append(event(name[0], self._cursor(number), data))
        return newest_first[::-1]

    def _value(self, name: Name) -> bytes | None:
        kind, key = name
        if isinstance(key, JobKey):
            return self._encoded.jobs.encoded(key)
        return (self._encoded.tasks if kind == "task" else self._encoded.agents).encoded(key)


def _names(touched: Touched) -> Iterable[Name]:
    yield from (("job", key) for key in touched.jobs)
    yield from (("task", task) for task in touched.tasks)
    yield from (("agent", name) for name in touched.agents)


def _gone(name: Name) -> bytes:
    field = {"job": "key", "task": "id", "agent": "name"}[name[0]]
    return msgspec.json.encode({field: str(name[1]), "gone": True})


class Watch:
    """One watcher: an async iterator of what to send it. It ends with the request that holds it."""

    def __init__(self, hub: Hub, position: int | None) -> None:
        self._hub = hub
        self._position = position
        self._task: asyncio.Task[object] | None = None
        self._sending_since: float | None = None

    @property
    def behind(self) -> bool:
        """Whether there is something to send at once."""
        return self._hub.after(self._position)[0] is not None

    def __aiter__(self) -> Watch:
        return self

    async def __anext__(self) -> Chunk:
        self._sending_since = None
        self._task = asyncio.current_task()
        chunk: Chunk | None = None
        while chunk is None:
            if self._hub.closed:
                raise StopAsyncIteration
            chunk, self._position = self._hub.after(self._position)
            if chunk is None and not await self._hub.news():
                chunk = KEEP_ALIVE
        self._sending_since = asyncio.get_running_loop().time()
        return chunk

    def drop_if_stuck(self, now: float) -> None:
        """End the request if its client has not taken what it was sent."""
        stuck = self._sending_since is not None and now - self._sending_since > limits.STUCK_SECONDS
        if stuck and self._task is not None:
            self._task.cancel()


class Events:
    """GET /api/v1/events."""

    def __init__(self, state: ClusterState, hub: Hub) -> None:
        self._state = state
        self._hub = hub

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """A stream of server-sent events that ends only with the connection."""
        await self.on_head(req, resp)
        resp.sse = self._hub.watch(req.get_header("Last-Event-ID"))

    async def on_head(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The headers of the stream."""
        await settle(req, resp, self._state)
        resp.content_type = "text/event-stream"
        resp.set_header("Cache-Control", "no-store")
        # Proxies that collect replies would hold events back.
        resp.set_header("X-Accel-Buffering", "no")
