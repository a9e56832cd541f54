"""`/api/v1/tasks/{id}/log`: a task's output, handed on from the agent that runs it, or that had it last."""

from __future__ import annotations

import re
from typing import Any

import falcon.asgi

from web import limits
from web.agent_logs import AgentLogs, LogAddress
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.log_search import LogSearch
from web.problems import HttpProblem
from web.requests_in import settle
from web.shapes import TaskView
from web.v1_tasks import no_task

DEFAULT_HISTORY_LINES = 10
# What an agent may call a container.
_TASK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")


class TaskLog:
    """GET /api/v1/tasks/{id}/log?history=10[&follow=true][&agent=NAME]."""

    def __init__(self, cluster: Cluster, encoded: Encoded, logs: AgentLogs) -> None:
        self._cluster = cluster
        self._encoded = encoded
        self._logs = logs
        self._search = LogSearch(logs)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, task: str) -> None:
        """A JSON array of lines, or a stream of them."""
        await settle(req, resp, self._cluster.state)
        history, follow = _history(req.get_param("history")), _follow(req.get_param("follow"))
        agent = req.get_param("agent")
        resp.set_header("Cache-Control", "no-store")
        view = self._encoded.tasks.view(task)
        known = self._endpoint(agent) if agent is not None else view.endpoint if view is not None else None
        if known is not None:
            try:
                await self._answer(resp, LogAddress(endpoint=known, task=task, history=history), follow)
            except HttpProblem as problem:
                if problem.status != 404 or agent is not None:
                    raise
            else:
                return
        await self._answer(resp, await self._find(task, view, history), follow)

    async def _answer(self, resp: falcon.asgi.Response, address: LogAddress, follow: bool) -> None:
        if follow:
            following = await self._logs.follow(address)
            resp.context.following = following  # it is counted as long as this reply lives
            resp.content_type = "text/event-stream"
            resp.set_header("X-Accel-Buffering", "no")
            resp.sse = following.chunks()
        else:
            resp.content_type = JSON
            resp.data = await self._logs.read(address)

    def _endpoint(self, agent: str) -> str:
        """Where the agent is that a request names. Raises HttpProblem if nobody knows it."""
        state = self._cluster.state
        known = state.desired.agents.get(agent) or state.actual.agents.get(agent)
        if known is None:
            raise HttpProblem(404, f"there is no agent {agent[: limits.LONGEST_SHOWN]!r}")
        return known.endpoint

    async def _find(self, task: str, view: TaskView | None, history: int) -> LogAddress:
        """Where the log is of a task that no agent has now, while an agent keeps it."""
        agents = self._cluster.state.actual.agents.values() if _TASK.fullmatch(task) else ()
        endpoints = [agent.endpoint for agent in agents if agent.link == "connected"]
        endpoint = await self._search.latest(task, endpoints)
        if endpoint is not None:
            return LogAddress(endpoint=endpoint, task=task, history=history)
        if view is None:
            raise no_task(task)
        if view.endpoint is None:
            raise HttpProblem(404, f"{task} has no log yet: it is {view.status}, no agent has it")
        raise HttpProblem(404, f"there is no log of {task} at {view.endpoint} (any more)")


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
