"""The HTTP of the scheduler: routes, and the collaborators that each resource gets.

In the picture this is `web`: it holds a replica of both states, shows it, and hands mutations on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import falcon
import falcon.asgi

from config.version import version
from scheduling.placement import Algorithm, least_used
from web import (
    health,
    members,
    task_exec,
    task_signals,
    v0,
    v1_agents,
    v1_brake,
    v1_jobs,
    v1_migrations,
    v1_rebalance,
    v1_registration,
    v1_snapshot,
    v1_tasks,
)
from web import logs as task_logs
from web.agent_logs import AgentLogs
from web.cluster import Cluster
from web.encoded import Encoded
from web.events import Events, Hub
from web.html_pages import DASHBOARD, HtmlPage
from web.metrics import Metrics, Read, RequestCounter
from web.openapi import OpenApi, docs_html
from web.problems import add_handlers
from web.requests_in import OriginGuard
from web.task_exec import TaskExec
from web.v0_pages import V0Pages
from web.v1_plan import Planner


def create_app(
    cluster: Cluster,
    hosts: frozenset[str] | None = None,
    *,
    strict: bool = True,
    algorithm: Algorithm = least_used,
    exec_allowed: bool = True,
    register_token: Path | None = None,
) -> falcon.asgi.App[Any, Any]:
    """The ASGI app of one worker. `hosts`: the only names it may be called by; None for any.

    `algorithm`: what the scheduler places by, for plans. `exec_allowed`: whether commands may run in tasks.
    `register_token`: the file whose token lets agents register; without it none may.
    """
    state = cluster.state
    encoded = Encoded(state)
    hub = Hub(state, encoded)
    logs = AgentLogs()
    execs = TaskExec(cluster, encoded, allowed=exec_allowed)
    counter = RequestCounter()
    app: falcon.asgi.App[Any, Any] = falcon.asgi.App(middleware=counter)
    app.add_middleware(OriginGuard(hosts, strict=strict))
    app.add_middleware(EndOfStreams(hub))
    add_handlers(app)
    v0.add_routes(app, cluster, V0Pages(state))
    planner = Planner(cluster, algorithm)
    v1_jobs.add_routes(app, cluster, encoded, planner)
    v1_migrations.add_routes(app, cluster, encoded)
    v1_tasks.add_routes(app, cluster, encoded)
    v1_agents.add_routes(app, cluster, encoded)
    v1_registration.add_routes(app, cluster, register_token)
    v1_brake.add_routes(app, cluster)
    members.add_routes(app, cluster)
    v1_rebalance.add_routes(app, cluster, planner)
    v1_snapshot.add_routes(app, cluster)
    task_logs.add_routes(app, cluster, encoded, logs)
    task_signals.add_routes(app, cluster, encoded)
    task_exec.add_route(app, execs)
    app.add_route("/api/v1/events", Events(state, hub))
    app.add_route("/api/v1/version", health.Version(version()))
    app.add_route("/health/live", health.Live())
    app.add_route("/health/ready", health.Ready(state))
    gauges: dict[str, tuple[str, Read]] = {
        "harpoon_event_watchers": ("Watchers of events of this worker.", lambda: hub.watchers),
        "harpoon_reads_waiting": ("Reads that wait for a version here.", lambda: state.reads_waiting),
        "harpoon_writes_waiting": ("Changes that wait for the registry here.", lambda: state.writes_waiting),
        "harpoon_log_followers": ("Followed logs of this worker.", lambda: logs.followers),
        "harpoon_execs": ("Commands that run in tasks by this worker.", lambda: execs.running),
    }
    app.add_route("/metrics", Metrics(encoded, counter, gauges))
    app.add_route("/openapi.json", OpenApi(version()))
    app.add_route("/docs", HtmlPage(docs_html(version())))
    app.add_route("/", HtmlPage(DASHBOARD.read_text(encoding="utf-8")))
    return app


class EndOfStreams:
    """Middleware that ends the event streams when the server says that the worker ends."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def process_shutdown(self, scope: Mapping[str, Any], event: Mapping[str, Any]) -> None:
        """Called by the server, once."""
        self._hub.close()
