"""`/api/v1/tasks/{id}/exec`: a WebSocket to a command that runs in a task, passed on to the agent.

What is said on it is in scheduling/exec_wire.py; only the request is looked at here. It is as powerful as
scheduling: who runs what is written on the log, pages of other web sites are refused (`OriginGuard`), and the
setting `exec` turns it off.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import falcon
import falcon.asgi
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from actors.log import make_logger
from scheduling.exec_wire import ExecMessageError, ExecProblem, ExecReply, encode, read_request
from web import limits
from web.cluster import Cluster
from web.encoded import Encoded
from web.problems import HttpProblem, unavailable
from web.v1_tasks import no_task

_LOG = make_logger("exec")


class TaskExec:
    """GET /api/v1/tasks/{id}/exec, upgraded."""

    def __init__(self, cluster: Cluster, encoded: Encoded, *, allowed: bool) -> None:
        self._cluster = cluster
        self._encoded = encoded
        self._allowed = allowed
        self.running = 0

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, task: str) -> None:
        """Whoever asks without a WebSocket is told."""
        raise HttpProblem(
            426, "this is a WebSocket; harpoonctl exec speaks it", headers={"Upgrade": "websocket"}
        )

    async def on_websocket(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket, task: str) -> None:
        """One command, from its request to its end. A problem is the last word, too."""
        await ws.accept()
        with suppress(falcon.WebSocketDisconnected):
            try:
                await self._run(req, ws, task)
            except HttpProblem as problem:
                said = ExecProblem(problem.status, problem.detail)
                await ws.send_data(encode(ExecReply(problem=said)))
            await ws.close()

    async def _run(self, req: falcon.asgi.Request, ws: falcon.asgi.WebSocket, task: str) -> None:
        try:
            async with asyncio.timeout(limits.EXEC_REQUEST_SECONDS):
                message = await ws.receive_data()
            request = read_request(message)
        except TimeoutError:
            raise HttpProblem(
                408, f"no command was named within {limits.EXEC_REQUEST_SECONDS:.0f} s"
            ) from None
        except (ExecMessageError, falcon.PayloadTypeError) as error:
            raise HttpProblem(400, str(error)) from None
        endpoint, agent = self._place(task)
        if self.running >= limits.MOST_EXECS:
            raise unavailable(f"{limits.MOST_EXECS} commands run in tasks already; try again later")
        who = ", ".join(req.access_route)[: limits.LONGEST_SHOWN]
        first = request.command[0][: limits.LONGEST_SHOWN]
        _LOG.info("%s runs %s in %s on %s", ascii(who), ascii(first), task, agent)
        self.running += 1
        try:
            await _pass_on(ws, message, _url(endpoint, task), agent, who)
        finally:
            self.running -= 1

    def _place(self, task: str) -> tuple[str, str]:
        """The endpoint and the name of the agent that runs a task. Raises HttpProblem."""
        if not self._allowed:
            raise HttpProblem(403, "exec is switched off on this scheduler (the setting exec)")
        if not self._cluster.state.complete:
            raise unavailable("the state of the cluster has not arrived here yet; try again")
        view = self._encoded.tasks.view(task)
        if view is None:
            raise no_task(task)
        if view.status != "running" or view.endpoint is None or view.agent is None:
            raise HttpProblem(409, f"{task} does not run: it is {view.status}")
        return view.endpoint, view.agent


def _url(endpoint: str, task: str) -> str:
    parts = urlsplit(endpoint)
    scheme = "wss" if parts.scheme == "https" else "ws"
    return urlunsplit((scheme, parts.netloc, f"/api/v1/containers/{quote(task, safe='')}/exec", "", ""))


class _Connect(connect):
    """A connection to an agent; where that points elsewhere, nobody follows."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        """No redirect is followed."""
        return exc


async def _pass_on(ws: falcon.asgi.WebSocket, request: bytes, url: str, agent: str, who: str) -> None:
    """Say to the agent what the client says, and the other way round, until one of them ends it."""
    try:
        async with _Connect(
            url,
            proxy=None,
            compression=None,
            open_timeout=limits.LOG_CONNECT_SECONDS,
            close_timeout=limits.EXEC_CLOSE_SECONDS,
            # A client that does not read holds up the agent's answers to pings, too. The kernel asks instead.
            ping_interval=None,
            max_size=limits.EXEC_MESSAGE_BYTES,
            max_queue=4,
            additional_headers={"X-Forwarded-For": who},
        ) as link:
            _keep_alive(link)
            await link.send(request)
            up, down = asyncio.create_task(_up(ws, link)), asyncio.create_task(_down(ws, link))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
            # Which of them has ended it does not matter, but for what there is to tell.
            if not up.cancelled():
                up.result()
            if not down.cancelled():
                down.result()
    except TimeoutError:
        raise HttpProblem(504, f"the agent {agent} did not answer in time") from None
    except InvalidStatus as error:
        status = error.response.status_code
        raise HttpProblem(
            502, f"the agent {agent} can't run commands in tasks: it answered {status}"
        ) from None
    except ConnectionClosed:
        raise HttpProblem(502, f"the connection to the agent {agent} broke; the command was ended") from None
    except (OSError, InvalidHandshake) as error:
        reason = str(error)[: limits.LONGEST_SHOWN]
        raise HttpProblem(502, f"the agent {agent} can't be asked: {reason}") from None


async def _up(ws: falcon.asgi.WebSocket, link: ClientConnection) -> None:
    """Ends when one of them has left. Raises HttpProblem for a message that is none."""
    with suppress(falcon.WebSocketDisconnected, ConnectionClosed):
        while True:
            try:
                message = await ws.receive_data()
            except falcon.PayloadTypeError as error:
                raise HttpProblem(400, str(error)) from None
            await link.send(message)


async def _down(ws: falcon.asgi.WebSocket, link: ClientConnection) -> None:
    """Ends with the agent's orderly end. Raises ConnectionClosed for another."""
    async for message in link:
        await ws.send_data(message if isinstance(message, bytes) else message.encode())


def _keep_alive(link: ClientConnection) -> None:
    """A host that is gone is found out, though nothing is said."""
    sock: socket.socket = link.transport.get_extra_info("socket")
    for level, option, value in (
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
    ):
        sock.setsockopt(level, option, value)


def add_route(app: falcon.asgi.App[Any, Any], execs: TaskExec) -> None:
    """The route of commands in tasks."""
    app.add_route("/api/v1/tasks/{task}/exec", execs)
