"""Work beside the requests: tasks of the event loop that are not forgotten, and threads for slow work."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)


class Background:
    """Tasks of the event loop; their errors are logged, and all end with `close`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do some work beside."""
        task = asyncio.create_task(work)
        # The loop itself only keeps weak references.
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def repeat(self, every_seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work every so often."""
        self.start(_repeat(every_seconds, work))

    def close(self) -> None:
        """End all of it."""
        for task in self._tasks:
            task.cancel()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        _log_error(task)


async def _repeat(every_seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        turn = asyncio.create_task(work())
        await asyncio.wait([turn])
        _log_error(turn)


def _log_error(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.error("unexpected, going on", exc_info=error)


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """What some work returns; it goes on to its end though who waits for it is cancelled, as a request is
    whose client has left."""
    return await asyncio.shield(asyncio.create_task(work))


async def in_daemon_thread(work: Callable[[], None]) -> None:
    """Run slow work in a thread that does not hold up the end of the agent, as one of a pool would."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def tell(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: Exception | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - raised again where it is waited for
            error = raised
        loop.call_soon_threadsafe(tell, error)

    threading.Thread(target=run, name="slow work", daemon=True).start()
    await done
