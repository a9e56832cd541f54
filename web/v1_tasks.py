"""`/api/v1/tasks`: every copy of every job, and how it is."""

from __future__ import annotations

from typing import Any, get_args

import falcon.asgi

from scheduling.job import task_prefix
from web import limits
from web.cluster import Cluster
from web.encoded import JSON, Encoded
from web.pages import Page, send_page
from web.problems import HttpProblem
from web.requests_in import settle
from web.shapes import TaskStatus, TaskView

STATUSES: tuple[str, ...] = get_args(TaskStatus)


class Tasks:
    """GET /tasks[?job=KEY|name|hash&agent=NAME&status=…]."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """`{"tasks":[Task…]}`, those that fit all filters."""
        await settle(req, resp, self._cluster.state)
        shelf = self._encoded.tasks
        job, agent, status = (req.get_param(name) for name in ("job", "agent", "status"))
        if status is not None and status not in STATUSES:
            shown = status[: limits.LONGEST_SHOWN]
            raise HttpProblem(400, f"status is {shown!r}; it must be one of {', '.join(STATUSES)}")
        if job is None and agent is None and status is None:
            page = shelf.page()
        else:
            fitting = [
                task.id
                for task in shelf.views()
                if (job is None or of_job(task, job))
                and (agent is None or on_agent(task, agent))
                and (status is None or task.status == status)
            ]
            page = Page(shelf.join(fitting), JSON)
        await send_page(req, resp, page, compress=True)

    on_head = on_get


class OneTask:
    """GET /tasks/{id}."""

    def __init__(self, cluster: Cluster, encoded: Encoded) -> None:
        self._cluster = cluster
        self._encoded = encoded

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response, task: str) -> None:
        """The task, or 404."""
        await settle(req, resp, self._cluster.state)
        body = self._encoded.tasks.encoded(task)
        if body is None:
            raise no_task(task)
        await send_page(req, resp, Page(body, JSON), compress=False)

    on_head = on_get


def no_task(task: str) -> HttpProblem:
    """404 for a task nobody knows."""
    return HttpProblem(
        404, f"there is no task {task[: limits.LONGEST_SHOWN]!r}; /api/v1/tasks lists the tasks"
    )


def of_job(task: TaskView, name: str) -> bool:
    """Whether a task belongs to the job that a key, a job name, a hash or a task prefix names."""
    return name in (task.job, task.hash) or name in (task.job.rpartition("/")[2], task_prefix(task.id))


def on_agent(task: TaskView, name: str) -> bool:
    """Whether a copy of a task is on an agent."""
    return task.agent == name or any(copy.agent == name for copy in task.other_copies)


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster, encoded: Encoded) -> None:
    """The routes of tasks, but for their logs."""
    app.add_route("/api/v1/tasks", Tasks(cluster, encoded))
    app.add_route("/api/v1/tasks/{task}", OneTask(cluster, encoded))
