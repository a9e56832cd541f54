"""`/api/v1/containers/ID/exec`: a WebSocket to a command that runs beside a task.

What is said on it is in scheduling/exec_wire.py. Whoever may do this may do what the task may.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, TypeAlias

import falcon
import falcon.asgi

from agent.beside import Beside
from agent.container import Container
from agent.lifecycle import Refusal, RefusedError
from agent.places import Places
from agent.runtime import Runtime
from config.bounds import (
    AGENT_MOST_EXECS,
    EXEC_IDLE_SECONDS,
    EXEC_REQUEST_SECONDS,
    EXEC_WINDOW_BYTES,
    LONGEST_SHOWN,
)
from scheduling.container import ExitStatus
from scheduling.exec_wire import (
    DATA,
    ExecMessageError,
    ExecProblem,
    ExecReply,
    ExecRequest,
    encode,
    read_control,
    read_request,
)

_LOG = logging.getLogger(__name__)
_LOG.setLevel(logging.INFO)  # who has run what is always told
_Request: TypeAlias = falcon.asgi.Request
_WebSocket: TypeAlias = falcon.asgi.WebSocket


class ExecResource:
    """Commands beside tasks; so many at a time, and none where that is switched off."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._places = Places(AGENT_MOST_EXECS, "commands run beside tasks")

    async def on_websocket(self, request: _Request, socket: _WebSocket, container_id: str) -> None:
        """One command, from its request to its end."""
        await socket.accept()
        with contextlib.suppress(falcon.WebSocketDisconnected):
            reply = await self._reply(request, socket, container_id)
            await socket.send_data(encode(reply))
            await socket.close()

    async def _reply(self, request: _Request, socket: _WebSocket, container_id: str) -> ExecReply:
        """The last word."""
        try:
            async with asyncio.timeout(EXEC_REQUEST_SECONDS):
                wanted = read_request(await socket.receive_data())
            # Only now: a client that is refused while it speaks may not hear why.
            with self._places.take():
                return await self._run(request, socket, container_id, wanted)
        except RefusedError as error:
            problem = ExecProblem(error.refusal.status, error.refusal.text)
        except TimeoutError:
            problem = ExecProblem(408, f"no command was named within {EXEC_REQUEST_SECONDS:.0f} s")
        except (ExecMessageError, falcon.PayloadTypeError) as error:
            problem = ExecProblem(400, str(error))
        return ExecReply(problem=problem)

    async def _run(
        self, request: _Request, socket: _WebSocket, container_id: str, wanted: ExecRequest
    ) -> ExecReply:
        entry, container = await self._runtime.enter(container_id, wanted)
        who, first = ", ".join(request.access_route)[:LONGEST_SHOWN], wanted.command[0][:LONGEST_SHOWN]
        _LOG.info("exec: %s runs %s in %s", ascii(who), ascii(first), container_id)
        try:
            beside = Beside(entry, wanted.rows, wanted.columns)
        except OSError as error:
            raise RefusedError(Refusal(503, f"cannot start a command: {error.strerror}")) from error
        return await _Conversation(socket, beside).run(container)


class _Conversation:
    """The messages of one command that runs."""

    def __init__(self, socket: _WebSocket, beside: Beside) -> None:
        self._socket = socket
        self._beside = beside
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue()
        self._on_the_way = 0
        self._input_ended = False
        self._last = 0.0
        self._touch()

    async def run(self, container: Container) -> ExecReply:
        """Carry on until the command has ended, and nothing of it is left; then say how."""
        end = self._beside.end
        container.beside.add(end)
        ended = asyncio.create_task(self._beside.ended())
        listening, idle = asyncio.create_task(self._listen()), asyncio.create_task(self._be_idle())
        writing = asyncio.create_task(self._write_all())
        feeding = asyncio.create_task(self._feed())
        try:
            await asyncio.wait({ended, listening, idle}, return_when=asyncio.FIRST_COMPLETED)
            end()
            outcome = await ended
            # Who listens still gets all that was written.
            await asyncio.wait({writing, listening, idle}, return_when=asyncio.FIRST_COMPLETED)
            if idle.done():
                outcome = ExecProblem(408, f"ended: it was silent for {EXEC_IDLE_SECONDS:.0f} s")
            elif listening.done():
                listening.result()
        finally:
            end()
            container.beside.discard(end)
            tasks = (listening, idle, writing, feeding)
            for task in tasks:
                task.cancel()
            await asyncio.gather(ended, *tasks, return_exceptions=True)
            self._beside.close()
        return ExecReply(ended=outcome) if isinstance(outcome, ExitStatus) else ExecReply(problem=outcome)

    async def _listen(self) -> None:
        """Take what the client says, at once. Raises ExecMessageError, and what says that it is gone."""
        while True:
            message = await self._socket.receive_data()
            self._touch()
            if message[:1] != DATA:
                control = read_control(message)
                self._beside.resize(control.rows, control.columns)
                if control.eof and not self._input_ended:
                    self._input_ended = True
                    self._stdin.put_nowait(b"")
            elif len(message) > 1 and not self._input_ended:
                self._on_the_way += len(message) - 1
                if self._on_the_way > EXEC_WINDOW_BYTES:
                    raise ExecMessageError(f"more than {EXEC_WINDOW_BYTES} bytes of stdin are on the way")
                self._stdin.put_nowait(message[1:])

    async def _feed(self) -> None:
        """Hand stdin to the command as fast as it takes it, and say so."""
        await self._socket.send_data(encode(ExecReply(started=True)))
        while content := await self._stdin.get():
            await self._beside.write(content)
            self._on_the_way -= len(content)
            self._touch()
            await self._socket.send_data(encode(ExecReply(taken=len(content))))
        await self._beside.end_of_input()

    async def _write_all(self) -> None:
        await asyncio.gather(*map(self._write, self._beside.outputs))

    async def _write(self, output: bytes) -> None:
        """Hand on what the command writes, no faster than the client takes it."""
        while content := await self._beside.read(output):
            await self._socket.send_data(output + content)
            self._touch()

    async def _be_idle(self) -> None:
        """Ends once nothing has come or gone for too long."""
        while (left := self._last + EXEC_IDLE_SECONDS - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(left)

    def _touch(self) -> None:
        self._last = asyncio.get_running_loop().time()


def add_route(app: falcon.asgi.App[Any, Any], runtime: Runtime) -> None:
    """The route of commands beside tasks."""
    app.add_route("/api/v1/containers/{container_id}/exec", ExecResource(runtime))
