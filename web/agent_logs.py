"""Reading logs from agents: each is asked in a thread, with timeouts, and the number of threads is bounded.

The standard library's client is used because a followed log needs its socket: a timeout until the reply
begins, none while a task is silent, and an end from outside when nobody listens any more.
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from web import limits
from web.problems import HttpProblem, unavailable
from web.streams import KEEP_ALIVE, Chunk

_READ_BYTES = 64 * 1024
_LINES = msgspec.json.Decoder(list[str])
Result = TypeVar("Result")


class LogAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Which log: of a task, at an agent's endpoint, from `history` lines back."""

    endpoint: str
    task: str
    history: int

    @property
    def path(self) -> str:
        """What to ask the agent for."""
        return f"/api/v0/containers/{quote(self.task, safe='')}/log?history={self.history}"

    def __str__(self) -> str:
        return f"the log of {self.task} at {self.endpoint}"


class AgentLogs:
    """Asks agents for logs. Readers and followers are bounded; one more is refused with 503."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(limits.MOST_LOG_READERS, thread_name_prefix="log-reader")
        self._readers = 0
        self._follows: weakref.WeakSet[Follow] = weakref.WeakSet()

    @property
    def followers(self) -> int:
        """How many follow a log now."""
        return len(self._follows)

    async def read(self, address: LogAddress) -> bytes:
        """The last lines, as a JSON array."""
        return await self._in_thread(lambda: _read(address))

    async def follow(self, address: LogAddress) -> Follow:
        """The last lines and those to come. Counted until the result is let go."""
        if len(self._follows) >= limits.MOST_FOLLOWERS:
            raise unavailable(f"{limits.MOST_FOLLOWERS} logs are followed already; try again later")
        follow = Follow(address)
        self._follows.add(follow)
        await self._in_thread(follow.open)
        return follow

    async def _in_thread(self, call: Callable[[], Result]) -> Result:
        if self._readers >= limits.MOST_LOG_READERS:
            raise unavailable(f"{limits.MOST_LOG_READERS} logs are being read already; try again")
        self._readers += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        # Counted until the thread is free again, also when the client has left before.
        future.add_done_callback(self._reader_done)
        return await asyncio.shield(future)

    def _reader_done(self, future: asyncio.Future[Any]) -> None:
        self._readers -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains when the client has left


class _Reply:
    """An agent's reply whose body has not been read yet. Raises what the user is to be told."""

    def __init__(self, address: LogAddress, accept: str) -> None:
        parts = urlsplit(address.endpoint)
        self._connection = http.client.HTTPConnection(
            parts.hostname or "", parts.port, timeout=limits.LOG_CONNECT_SECONDS
        )
        try:
            self._connection.connect()
            self._socket: socket.socket = self._connection.sock
            self._socket.settimeout(limits.LOG_READ_SECONDS)
            self._connection.request("GET", address.path, headers={"Accept": accept})
            self.body = self._connection.getresponse()
        except TimeoutError:
            self.close()
            raise HttpProblem(504, f"{address} can't be read: no answer in time") from None
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise HttpProblem(502, f"{address} can't be read: {_reason(error)}") from None
        if self.body.status == 200:
            return
        self.close()
        if self.body.status == 404:
            raise HttpProblem(404, f"there is no log of {address.task} at {address.endpoint} (any more)")
        raise HttpProblem(502, f"{address} can't be read: status {self.body.status} instead of 200")

    def wait_forever(self) -> None:
        """A silent task is no broken connection; a host that is gone is found out by probes."""
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)

    def end(self) -> None:
        """From any thread: whoever reads gets the end of the stream."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket; only where nobody reads any more."""
        self._connection.close()


def _read(address: LogAddress) -> bytes:
    reply = _Reply(address, "application/json")
    try:
        body = _whole(reply, address)
        return msgspec.json.encode(_LINES.decode(body))
    except TimeoutError:
        raise HttpProblem(504, f"{address} can't be read: it comes too slowly") from None
    except (OSError, http.client.HTTPException) as error:
        raise HttpProblem(502, f"{address} broke off: {_reason(error)}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise HttpProblem(502, f"{address} is no JSON array of lines: {_reason(error)}") from None
    finally:
        reply.body.close()
        reply.close()


def _whole(reply: _Reply, address: LogAddress) -> bytes:
    body = bytearray()
    deadline = time.monotonic() + limits.LOG_READ_SECONDS
    while data := reply.body.read1(_READ_BYTES):
        body += data
        if len(body) > limits.LARGEST_LOG_BYTES:
            text = f"{address} is more than {limits.LARGEST_LOG_BYTES} bytes; ask for fewer lines"
            raise HttpProblem(502, text)
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def _reason(error: BaseException) -> str:
    return str(error)[: limits.LONGEST_SHOWN] or type(error).__name__


class Follow:
    """A followed log: a thread reads from the agent, no faster than the client takes it."""

    def __init__(self, address: LogAddress) -> None:
        self._address = address
        self._reply: _Reply | None = None

    def open(self) -> None:
        """Connect, which blocks: for a thread."""
        self._reply = _Reply(self._address, "text/event-stream")
        self._reply.wait_forever()

    async def chunks(self) -> AsyncIterator[Chunk]:
        """Events, each a JSON array of lines; ends when the agent's stream does."""
        if self._reply is None:
            raise AssertionError("a log is followed before it is open")
        pump = _Pump(self._reply, asyncio.get_running_loop())
        threading.Thread(target=pump.run, name="log-follower", daemon=True).start()
        try:
            while True:
                try:
                    async with asyncio.timeout(limits.KEEP_ALIVE_SECONDS):
                        chunk = await pump.queue.get()
                except TimeoutError:
                    chunk = KEEP_ALIVE
                if chunk is None:
                    return
                yield chunk
        finally:
            pump.end()


class _Pump:
    """What the thread of a followed log does."""

    def __init__(self, reply: _Reply, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: asyncio.Queue[Chunk | None] = asyncio.Queue(limits.LOG_CHUNKS_BUFFERED)
        self._reply = reply
        self._loop = loop
        self._ended = threading.Event()

    def run(self) -> None:
        """Hand lines on until either side ends; whatever breaks the stream ends it."""
        with suppress(OSError, http.client.HTTPException, msgspec.MsgspecError, ValueError):
            for lines in self._arrays():
                self._put(Chunk(b"data: %s\n\n" % lines))
        with suppress(RuntimeError):  # the loop is gone
            self._put(None)
        self._reply.body.close()
        self._reply.close()

    def end(self) -> None:
        """In the loop: nobody listens any more. The thread may wait for the agent or for room; both end."""
        self._ended.set()
        self._reply.end()
        while not self.queue.empty():
            self.queue.get_nowait()

    def _put(self, chunk: Chunk | None) -> None:
        if not self._ended.is_set():
            asyncio.run_coroutine_threadsafe(self.queue.put(chunk), self._loop).result()

    def _arrays(self) -> Iterator[bytes]:
        """The JSON arrays of the stream, as `data:` events or one a line."""
        rest = b""
        while not self._ended.is_set() and (data := self._reply.body.read1(_READ_BYTES)):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > limits.LONGEST_LOG_LINE_BYTES:
                raise ValueError("a line without an end")
            for line in lines:
                array = line.strip().removeprefix(b"data:").strip()
                if array.startswith(b"["):
                    yield msgspec.json.encode(_LINES.decode(array))
