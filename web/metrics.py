"""`/metrics` in the text format of Prometheus. What counts requests counts those of this worker only."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import falcon.asgi

from web.cluster import ClusterState
from web.encoded import Encoded
from web.members import MemberView, members
from web.shapes import Counts
from web.supervision import supervision

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = dict[str, str]
Read = Callable[[], float]
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS"})


class RequestCounter:
    """Middleware: counts replies by method and status, and the seconds until they began."""

    def __init__(self) -> None:
        self.replies: Counter[tuple[str, int]] = Counter()
        self.seconds = 0.0

    async def process_request(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Note when it began."""
        req.context.began = time.perf_counter()

    async def process_response(
        self, req: falcon.asgi.Request, resp: falcon.asgi.Response, resource: object, req_succeeded: bool
    ) -> None:
        """Count it."""
        method = req.method if req.method in _METHODS else "other"
        self.replies[method, resp.status_code] += 1
        self.seconds += time.perf_counter() - getattr(req.context, "began", time.perf_counter())


class Metrics:
    """GET /metrics. `gauges`: more values, by name: what they are, and how to read them."""

    def __init__(
        self, encoded: Encoded, counter: RequestCounter, gauges: dict[str, tuple[str, Read]]
    ) -> None:
        self._encoded = encoded
        self._counter = counter
        self._gauges = gauges

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Every metric, once."""
        state = self._encoded.state
        lines: list[str] = []
        _requests(lines, self._counter)
        _cluster(lines, state, self._encoded, time.time())
        for name, (text, read) in self._gauges.items():
            _add(lines, name, "gauge", text, [({}, read())])
        resp.content_type = CONTENT_TYPE
        resp.set_header("Cache-Control", "no-store")
        resp.text = "\n".join(lines) + "\n"

    on_head = on_get


def _requests(lines: list[str], counter: RequestCounter) -> None:
    _add(
        lines,
        "harpoon_http_requests_total",
        "counter",
        "Replies of this worker.",
        [
            ({"method": method, "status": str(status)}, number)
            for (method, status), number in sorted(counter.replies.items())
        ],
    )
    _add(
        lines,
        "harpoon_http_request_seconds_total",
        "counter",
        "Time until the replies of this worker began.",
        [({}, counter.seconds)],
    )


def _cluster(lines: list[str], state: ClusterState, encoded: Encoded, now: float) -> None:
    tasks = encoded.tasks.views()
    stale = 0.0 if state.stale_since is None else max(now - state.stale_since, 0.0)
    plain = [
        ("harpoon_registry_version", "Version of the desired state here.", state.version),
        ("harpoon_connected", "Whether the actors can be reached.", int(state.connected)),
        ("harpoon_stale_seconds", "For how long they have not been.", stale),
        ("harpoon_jobs", "Jobs.", len(state.desired.by_key)),
        ("harpoon_job_versions", "Versions of jobs.", len(state.desired.jobs)),
        ("harpoon_tasks_stale", "Tasks whose agent is not connected.", sum(t.stale for t in tasks)),
        ("harpoon_brake", "Whether the brake keeps agents from being lost.", int(state.brake is not None)),
        ("harpoon_agents_lost", "Agents that are lost.", _lost(state)),
        ("harpoon_tasks_foreign", "Containers without a placement.", sum(t.foreign for t in tasks)),
    ]
    for name, text, value in plain:
        _add(lines, name, "gauge", text, [({}, value)])
    statuses = Counter(task.status for task in tasks)
    links = Counter(agent.link for agent in encoded.agents.views())
    _add(lines, "harpoon_tasks", "gauge", "Tasks by status.", _by("status", statuses))
    _add(lines, "harpoon_agents", "gauge", "Agents by link.", _by("link", links))
    _add(
        lines,
        "harpoon_job_tasks",
        "gauge",
        "Tasks of each job by how they are.",
        [
            ({"job": job.key, "state": field}, getattr(job.counts, field))
            for job in encoded.jobs.views()
            for field in Counts.__struct_fields__
        ],
    )
    _members(lines, state)
    _actors(lines, state, now)


def _members(lines: list[str], state: ClusterState) -> None:
    gauges: list[tuple[str, str, Callable[[MemberView], float]]] = [
        ("up", "Whether a host of the convention is there, and used.", lambda each: each.link == "connected"),
        ("flocks", "Flocks that are on it.", lambda each: each.flocks),
        ("agents", "Agents that are followed from there.", lambda each: each.agents),
    ]
    for name, text, read in gauges:
        samples = [
            ({"member": each.name, "address": each.address}, float(read(each))) for each in members(state)
        ]
        _add(lines, f"harpoon_member_{name}", "gauge", text, samples)


def _lost(state: ClusterState) -> int:
    return sum(agent.lost_since is not None for agent in state.desired.agents.values())


def _actors(lines: list[str], state: ClusterState, now: float) -> None:
    actors = [state.roster[name] for name in sorted(state.roster)]
    _add(
        lines,
        "harpoon_actor_up",
        "gauge",
        "Whether an actor is at work.",
        [({"actor": actor.name}, int(actor.up)) for actor in actors],
    )
    _add(
        lines,
        "harpoon_actor_troubled",
        "gauge",
        "Whether an actor lives but can't do a part of its work: the registry, when its disk is full.",
        [({"actor": actor.name}, int(bool(actor.trouble))) for actor in actors],
    )
    _add(
        lines,
        "harpoon_actor_restarts_total",
        "counter",
        "How often an actor was made anew.",
        [({"actor": actor.name}, actor.restarts) for actor in actors],
    )
    kinds = supervision(state, now)
    _add(
        lines,
        "harpoon_supervised_restarts_total",
        "counter",
        "How often any actor of a kind was made anew.",
        [({"kind": kind.kind}, kind.restarts) for kind in kinds],
    )
    _add(
        lines,
        "harpoon_supervised_waiting",
        "gauge",
        "How many of a kind wait to be made anew.",
        [({"kind": kind.kind}, kind.waiting) for kind in kinds],
    )
    _add(
        lines,
        "harpoon_supervised_next_attempt_seconds",
        "gauge",
        "Until the first of these is made anew; 0 if none waits.",
        [({"kind": kind.kind}, kind.next_seconds or 0.0) for kind in kinds],
    )


def _by(label: str, counts: Counter[Any]) -> list[tuple[Labels, float]]:
    return [({label: str(name)}, number) for name, number in sorted(counts.items())]


def _add(lines: list[str], name: str, kind: str, text: str, samples: Iterable[tuple[Labels, float]]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        shown = ",".join(f'{label}="{_escaped(content)}"' for label, content in labels.items())
        lines.append(f"{name}{{{shown}}} {value}" if shown else f"{name} {value}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
