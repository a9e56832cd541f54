"""News from the scheduler: its event stream for ever, and polling while there is none."""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from config.bounds import FEED_LONGEST_PAUSE_SECONDS as LONGEST_PAUSE_SECONDS
from config.bounds import MOST_NEWS_HELD as _MOST_HELD
from ctl.client import Client
from ctl.errors import HarpoonctlError, RefusedError, UnreachableError
from ctl.shapes import Job, Snapshot, Task, Tasks
from scheduling.sse import Event, EventParser, EventTooLargeError

SILENCE_SECONDS = 45.0  # the scheduler sends a comment every 15 s
SHORTEST_PAUSE_SECONDS = 0.25


class Trouble(msgspec.Struct, frozen=True):
    """Nothing is heard from the scheduler at the moment, and why."""

    why: str


News = Event | Trouble


def follow(
    client: Client,
    on_break: Callable[[HarpoonctlError], bool],
    pause: Callable[[float], object] = time.sleep,
) -> Iterator[Event]:
    """All events, for ever; a stream that breaks is resumed where it broke, after a growing pause.

    `on_break` hears of each break first: it may raise, and it returns whether to resume (else the
    next stream begins with a snapshot, which is right for whoever has newer news by then).
    """
    cursor, failures = "", 0
    while True:
        failure: HarpoonctlError
        try:
            headers = {"Last-Event-ID": cursor} if cursor else {}
            with client.stream(
                "api", "v1", "events", headers=headers, silence_seconds=SILENCE_SECONDS
            ) as pieces:
                parser = EventParser()
                for piece in pieces:
                    for event in parser.feed(piece):
                        failures, cursor = 0, event.id or cursor
                        yield event
            failure = UnreachableError(f"{client.endpoint} ended the event stream")
        except EventTooLargeError as error:
            failure = UnreachableError(f"{client.endpoint}: {error}")
        except (RefusedError, UnreachableError) as error:
            failure = error
        if not on_break(failure):
            cursor = ""
        failures += 1
        longest = min(SHORTEST_PAUSE_SECONDS * 2.0**failures, LONGEST_PAUSE_SECONDS)
        # Random, so that all who watched a scheduler that restarts do not come back at once.
        pause(longest * random.uniform(0.5, 1.0))  # noqa: S311  # no secret


class Feed:
    """News of one job, read by a thread, so that whoever waits for it can also watch the clock."""

    def __init__(self, client: Client, key: str, prefixes: Sequence[str] = ()) -> None:
        self._client = client
        self._key = key
        self._prefixes = prefixes
        # Bounded: while nobody takes news out, the stream is not read, and the scheduler conflates.
        self._news: queue.Queue[News] = queue.Queue(_MOST_HELD)
        self._closed = threading.Event()
        # A daemon: it may sit in a read that nobody waits for any more.
        self._thread = threading.Thread(target=self._read, name="events", daemon=True)

    def __enter__(self) -> Feed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def take(self, timeout_seconds: float) -> list[News]:
        """All there is, at least one thing unless the time is over."""
        try:
            news = [self._news.get(timeout=max(timeout_seconds, 0.0))]
        except queue.Empty:
            return []
        while len(news) < _MOST_HELD:
            try:
                news.append(self._news.get_nowait())
            except queue.Empty:
                break
        return news

    def _read(self) -> None:
        for event in follow(self._client, self._poll, self._closed.wait):
            self._put(event)
            if self._closed.is_set():
                return

    def _put(self, news: News) -> None:
        while not self._closed.is_set():
            try:
                self._news.put(news, timeout=1.0)
            except queue.Full:
                continue
            return

    def _poll(self, failure: HarpoonctlError) -> bool:
        """Ask once, as the stream says nothing; what that tells is newer than where the stream broke."""
        if self._closed.is_set():
            return False
        try:
            self._put(poll(self._client, self._key, self._prefixes))
        except (RefusedError, UnreachableError) as error:
            self._put(Trouble(error.lines[0] if isinstance(error, UnreachableError) else failure.lines[0]))
            return True
        return False


def poll(client: Client, key: str, prefixes: Sequence[str] = ()) -> Event:
    """The present state of one job, in the form of a snapshot of everything."""
    jobs: list[Job] = []
    tasks: dict[str, Task] = {}
    with _unless_unknown():
        jobs.append(client.get("api", "v1", "jobs", *key.split("/")).read_as(Job))
    for name in (key, *prefixes):
        with _unless_unknown():
            found = client.get("api", "v1", "tasks", query={"job": name}).read_as(Tasks).tasks
            tasks.update({task.id: task for task in found})
    return Event("", "snapshot", msgspec.json.encode(Snapshot(jobs=jobs, tasks=list(tasks.values()))))


@contextmanager
def _unless_unknown() -> Iterator[None]:
    """A job that is gone is an answer like any other."""
    try:
        yield
    except RefusedError as error:
        if error.status != 404:
            raise
