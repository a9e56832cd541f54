"""`/api/v1/tasks/{id}/signal`: a signal to a task, passed on to the agent that runs it.

An operator's word to a program, and no command: it changes nothing that is desired, so it needs no lease, and
it is not repeated. A task that ends by it is started again by its restart policy.
"""

from __future__ import annotations

import asyncio
import http.client
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote, urlsplit

import falcon.asgi

from web import limits
from web.bodies import parse_object, quotable, read_body
from web.cluster import Cluster
from web.encoded import ENCODER, JSON, Encoded
from web.problems import HttpProblem, unavailable
from web.shapes import SignalReply
from web.v1_tasks import no_task

_NAME = re.compile(r"[A-Z0-9]{1,16}")


class TaskSignal:
    """POST /api/v1/tasks/{id}/signal `{"signal":"HUP"}`."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded
        self._pool = ThreadPoolExecutor(limits.MOST_SIGNALS, thread_name_prefix="signal")
        self._sending = 0

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, task: str) -> None:
        """Send it once; 409 where nothing runs, and what the agent says where it refuses."""
        name = _signal(parse_object(await read_body(req), strict=True))
        view = self._encoded.tasks.view(task)
        if view is None:
            raise no_task(task)
        if view.status != "running" or view.endpoint is None or view.agent is None:
            raise HttpProblem(409, f"{task} does not run: it is {view.status}")
        if self._sending >= limits.MOST_SIGNALS:
            raise unavailable(
                f"{limits.MOST_SIGNALS} signals are being sent already; nothing was sent, try again"
            )
        self._sending += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, _send, view.endpoint, task, name)
        future.add_done_callback(self._sent)
        await asyncio.shield(future)
        resp.content_type = JSON
        resp.data = ENCODER.encode(
            SignalReply(
                message=f"sent {name} to {task} on {view.agent}", task=task, agent=view.agent, signal=name
            )
        )

    def _sent(self, future: asyncio.Future[None]) -> None:
        self._sending -= 1
        if not future.cancelled():
            future.exception()  # looked at, so that nobody complains when the client has left


def _signal(raw: dict[str, Any]) -> str:
    name = raw.get("signal")
    if set(raw) != {"signal"} or not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = quotable(raw.get("signal"))
        raise HttpProblem(400, f'signal is {shown!r}; the body must be like {{"signal": "HUP"}}')
    return name


def _send(endpoint: str, task: str, name: str) -> None:
    """One request, never repeated. Raises HttpProblem."""
    parts = urlsplit(endpoint)
    timeout = limits.LOG_READ_SECONDS
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    body = b'{"signal":"%s"}' % name.encode()
    path = f"/api/v1/containers/{quote(task, safe='')}/signal"
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        said = reply.read(limits.LONGEST_SHOWN).decode("utf-8", "replace").strip()
    except TimeoutError:
        raise HttpProblem(
            504, f"the agent at {endpoint} did not answer in time; it may have been sent"
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise HttpProblem(502, f"the agent at {endpoint} can't be asked: {error}") from None
    finally:
        connection.close()
    if reply.status == 200:
        return
    if reply.status in (400, 409):
        raise HttpProblem(reply.status, said)
    if reply.status == 404:
        raise HttpProblem(404, f"the agent at {endpoint} has no {task} (any more), or can't send signals")
    raise HttpProblem(502, f"the agent at {endpoint} answered {reply.status}: {said}")


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The route of signals."""
    app.add_route("/api/v1/tasks/{task}/signal", TaskSignal(cluster, encoded))
