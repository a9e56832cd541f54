"""The connection of `harpoonctl exec`: stdin there, stdout and stderr back, by scheduling/exec_wire.py."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Iterator

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from config.bounds import CTL_CONNECT_SECONDS, EXEC_CLOSE_SECONDS, EXEC_MESSAGE_BYTES, EXEC_WINDOW_BYTES
from ctl.errors import RefusedError, UnreachableError
from ctl.terminal import raw, window
from scheduling.exec_wire import (
    CONTROL,
    DATA,
    ERRORS,
    ExecControl,
    ExecMessageError,
    ExecReply,
    ExecRequest,
    encode,
    read_reply,
)

_CHUNK_BYTES = 16 * 1024
_BROKEN = "the connection broke; the command was ended"


class ExecLink:
    """One command, by the WebSocket at `url` of the scheduler at `endpoint`."""

    def __init__(self, endpoint: str, url: str, *, proxied: bool) -> None:
        self._endpoint = endpoint
        self._url = url
        self._proxied = proxied
        self._on_the_way = 0
        self._taken = asyncio.Event()

    async def run(self, request: ExecRequest, *, stdin: bool) -> ExecReply:
        """Its last word. Raises UnreachableError, RefusedError, and OSError where nothing can be written."""
        async with contextlib.AsyncExitStack() as stack:
            link = await self._open(stack, request)
            try:
                return await self._talk(link, tty=request.tty, stdin=stdin)
            except ConnectionClosed as error:
                raise UnreachableError(_BROKEN) from error
            except ExecMessageError as error:
                text = f"{self._endpoint} does not answer like a Harpoon scheduler: {error}"
                raise UnreachableError(text) from error

    async def _open(self, stack: contextlib.AsyncExitStack, request: ExecRequest) -> ClientConnection:
        connection = connect(
            self._url,
            proxy=True if self._proxied else None,
            compression=None,
            open_timeout=CTL_CONNECT_SECONDS,
            close_timeout=EXEC_CLOSE_SECONDS,
            # Whoever pages through what comes holds up the answers to pings. The kernel asks instead.
            ping_interval=None,
            max_size=EXEC_MESSAGE_BYTES,
            max_queue=4,
        )
        try:
            link = await stack.enter_async_context(connection)
            _keep_alive(link)
            await link.send(encode(request))
        except InvalidStatus as error:
            status = error.response.status_code
            text = f"the scheduler at {self._endpoint} does not let commands run in tasks: HTTP {status}"
            if 400 <= status < 500:
                raise RefusedError(status, text) from error
            raise UnreachableError(text) from error
        except (OSError, WebSocketException) as error:
            reason = str(error) or type(error).__name__
            raise UnreachableError(f"can't reach the scheduler at {self._endpoint}: {reason}") from error
        return link

    async def _talk(self, link: ClientConnection, *, tty: bool, stdin: bool) -> ExecReply:
        """From the request to the last word."""
        feeding: asyncio.Task[None] | None = None
        with contextlib.ExitStack() as stack:
            try:
                async for message in link:
                    if not isinstance(message, bytes) or message[:1] not in (CONTROL, DATA, ERRORS):
                        raise ExecMessageError("a message that begins with none of 0, 1 and 2")
                    if message[:1] != CONTROL:
                        # In a thread: a reader that pauses must not stop all else.
                        await asyncio.to_thread(_write, 1 if message[:1] == DATA else 2, message[1:])
                        continue
                    reply = read_reply(message)
                    if reply.ended is not None or reply.problem is not None:
                        return reply
                    self._on_the_way -= reply.taken
                    self._taken.set()
                    if reply.started and feeding is None:
                        if tty:
                            stack.enter_context(raw())
                            stack.enter_context(_resizing(link))
                        feeding = asyncio.create_task(self._feed(link, stdin=stdin))
            finally:
                if feeding is not None:
                    feeding.cancel()
                    await asyncio.gather(feeding, return_exceptions=True)
        raise UnreachableError(_BROKEN)

    async def _feed(self, link: ClientConnection, *, stdin: bool) -> None:
        """Send stdin no faster than it is taken, then its end."""
        if stdin:
            async for content in _stdin():
                while self._on_the_way + len(content) > EXEC_WINDOW_BYTES:
                    self._taken.clear()
                    await self._taken.wait()
                self._on_the_way += len(content)
                await link.send(DATA + content)
        await link.send(encode(ExecControl(eof=True)))


@contextlib.contextmanager
def _resizing(link: ClientConnection) -> Iterator[None]:
    """Tell the size of the window, now and whenever it changes."""
    loop = asyncio.get_running_loop()
    telling: set[asyncio.Task[None]] = set()

    def tell() -> None:
        rows, columns = window()
        task = loop.create_task(link.send(encode(ExecControl(rows=rows, columns=columns))))
        telling.add(task)
        task.add_done_callback(telling.discard)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    loop.add_signal_handler(signal.SIGWINCH, tell)
    tell()
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)


async def _stdin() -> AsyncIterator[bytes]:
    """What comes on stdin. Read by a thread of its own, which may wait for ever and is not waited for."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[bytes] = asyncio.Queue(1)

    def read() -> None:
        content = b"-"
        with contextlib.suppress(RuntimeError):  # the loop is gone
            while content:
                try:
                    content = os.read(0, _CHUNK_BYTES)
                except OSError:
                    content = b""
                asyncio.run_coroutine_threadsafe(queue.put(content), loop).result()

    threading.Thread(target=read, daemon=True, name="stdin").start()
    while content := await queue.get():
        yield content


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _keep_alive(link: ClientConnection) -> None:
    """A host that is gone is found out, though nothing is said."""
    sock: socket.socket = link.transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # These three have other names, or none, outside Linux; the system's pace is good enough there.
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
