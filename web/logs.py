"""`/api/v1/tasks/{id}/log`: a task's output, handed on from the agent that runs it."""

from __future__ import annotations

from typing import Any

import falcon.asgi

from web import limits
from web.agent_logs import AgentLogs, LogAddress
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.problems import HttpProblem
from web.requests_in import settle
from web.v1_tasks import no_task

DEFAULT_HISTORY_LINES = 10


class TaskLog:
    """GET /api/v1/tasks/{id}/log?history=10[&follow=true]."""

    def __init__(self, cluster: Cluster, encoded: Encoded, logs: AgentLogs) -> None:
        self._cluster = cluster
        self._encoded = encoded
        self._logs = logs

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, task: str) -> None:
        """A JSON array of lines, or a stream of them."""
        await settle(req, resp, self._cluster.state)
        address = self._address(task, _history(req.get_param("history")))
        resp.set_header("Cache-Control", "no-store")
        if _follow(req.get_param("follow")):
            following = await self._logs.follow(address)
            resp.context.following = following  # it is counted as long as this reply lives
            resp.content_type = "text/event-stream"
            resp.set_header("X-Accel-Buffering", "no")
            resp.sse = following.chunks()
        else:
            resp.content_type = JSON
            resp.data = await self._logs.read(address)

    def _address(self, task: str, history: int) -> LogAddress:
        view = self._encoded.tasks.view(task)
        if view is None:
            raise no_task(task)
        if view.endpoint is None:
            raise HttpProblem(404, f"{task} has no log yet: it is {view.status}, no agent has it")
        return LogAddress(endpoint=view.endpoint, task=task, history=history)


def _history(text: str | None) -> int:
    if text is None:
        return DEFAULT_HISTORY_LINES
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) > limits.LONGEST_HISTORY_LINES:
        shown = text[: limits.LONGEST_SHOWN]
        raise HttpProblem(
            400,
            f"history is {shown!r}; it must be a number of lines from 0 to {limits.LONGEST_HISTORY_LINES}",
        )
    return int(text)


def _follow(text: str | None) -> bool:
    if text not in (None, "true", "false"):
        shown = (text or "")[: limits.LONGEST_SHOWN]
        raise HttpProblem(400, f"follow is {shown!r}; it must be true or false")
    return text == "true"


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded, logs: AgentLogs) -> None:
    """The route of logs."""
    app.add_route("/api/v1/tasks/{task}/log", TaskLog(cluster, encoded, logs))
