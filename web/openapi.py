"""`/openapi.json` and `/docs`: what the scheduler understands, from one table and the v1 shapes."""

from __future__ import annotations

from html import escape
from typing import Any

import falcon.asgi
import msgspec
from msgspec import inspect

from scheduling.job import JobConfig
from scheduling.snapshot import Snapshot
from web.encoded import JSON
from web.pages import Page, send_page
from web.shapes import AgentView, ChangeReply, JobView, ProblemView, RestoreReply, TaskView


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method at one path. `reply` and `body` name a schema; `key` wraps it as the list of that name."""

    method: str
    path: str
    text: str
    status: int = 200
    reply: str = ""
    key: str = ""
    body: str = ""
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    media: str = JSON
    errors: tuple[int, ...] = ()


_PLAIN: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}
_WAIT = (
    ("index", "Wait until the registry version is above this."),
    ("wait", 'How long, like "30s"; at most 60s.'),
)
_WRITE = (("Idempotency-Key", "1 to 128 printable ASCII characters; makes repeating safe."),)
_IF = (
    ("If-Match", "The job's version as its ETag gave it, or *."),
    ("If-None-Match", "*: there must be no such job yet."),
)
_JOB = "/api/v1/jobs/{product}/{environment}/{job}"
_V0 = "as programs of 2014 speak it"

OPERATIONS = (
    Operation(method="get", path="/api/v1/jobs", text="All jobs.", reply="JobView", key="jobs", query=_WAIT),
    Operation(
        method="get",
        path=_JOB,
        text="One job, with its tasks. The ETag is the job's version.",
        reply="JobView",
        query=_WAIT,
        errors=(404,),
    ),
    Operation(
        method="put",
        path=_JOB,
        text="Make this config the job's only version. Idempotent; 201 when it is new. "
        "Of a running job only the scale can be changed.",
        reply="ChangeReply",
        body="JobConfig",
        headers=(*_WRITE, *_IF),
        errors=(400, 409, 412, 413, 503),
    ),
    Operation(
        method="delete",
        path=_JOB,
        text="Stop all versions of a job.",
        status=202,
        reply="ChangeReply",
        headers=(*_WRITE, *_IF),
        errors=(404, 412, 503),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks",
        text="All tasks, or those that fit.",
        reply="TaskView",
        key="tasks",
        query=(
            ("job", "A job's key, its name, a hash or a task prefix."),
            ("agent", "An agent's name."),
            ("status", "A status of tasks."),
            *_WAIT,
        ),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks/{task}",
        text="One task.",
        reply="TaskView",
        query=_WAIT,
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/v1/tasks/{task}/log",
        text="A task's output: a JSON array of lines; followed, events whose data are such arrays.",
        query=(("history", "How many lines back, 10 without."), ("follow", "true: and those to come.")),
        errors=(400, 404, 502, 503, 504),
    ),
    Operation(
        method="get",
        path="/api/v1/agents",
        text="All agents.",
        reply="AgentView",
        key="agents",
        query=_WAIT,
    ),
    Operation(
        method="get",
        path="/api/v1/agents/{name}",
        text="One agent.",
        reply="AgentView",
        query=_WAIT,
        errors=(404,),
    ),
    Operation(
        method="get",
        path="/api/v1/events",
        text="Server-sent events: snapshot, then job, task and agent, each with its shape, or with "
        '"gone": true. Newest value per key.',
        media="text/event-stream",
        headers=(("Last-Event-ID", "Go on from this event, if it is still known."),),
        errors=(503,),
    ),
    Operation(
        method="get",
        path="/api/v1/snapshot",
        text="All jobs and agents, to keep as a backup. The ETag is the version of the registry.",
        reply="Snapshot",
        query=_WAIT,
        errors=(503,),
    ),
    Operation(
        method="put",
        path="/api/v1/snapshot",
        text="Make the jobs exactly those of a snapshot. What runs already is adopted, not started again.",
        reply="RestoreReply",
        body="Snapshot",
        headers=(*_WRITE, ("If-Match", "The version of the registry as its ETag gave it, or *.")),
        errors=(400, 409, 412, 413, 503),
    ),
    Operation(method="get", path="/api/v1/version", text="Which version of the scheduler this is."),
    Operation(
        method="put", path="/api/v0/schedule", text=f"Run a config, {_V0}.", status=202, body="JobConfig"
    ),
    Operation(method="post", path="/api/v0/schedule", text="The same.", status=202, body="JobConfig"),
    Operation(
        method="put", path="/api/v0/unschedule", text=f"Stop a config, {_V0}.", status=202, body="JobConfig"
    ),
    Operation(method="post", path="/api/v0/unschedule", text="The same.", status=202, body="JobConfig"),
    Operation(method="put", path="/api/v0/unschedule/{name}", text=f"Stop a hash, {_V0}.", status=202),
    Operation(method="get", path="/api/v0/registry", text=f"Every job config by its hash, {_V0}."),
    Operation(method="get", path="/api/v0/proxy", text=f"Every agent's state by its endpoint, {_V0}."),
    Operation(method="get", path="/health/live", text="200 while this worker answers at all."),
    Operation(method="get", path="/health/ready", text="200 when it can do its work.", errors=(503,)),
    Operation(
        method="get", path="/metrics", text="Metrics for Prometheus.", media="text/plain; version=0.0.4"
    ),
    Operation(method="get", path="/openapi.json", text="This description."),
    Operation(method="get", path="/docs", text="The same to read.", media="text/html"),
    Operation(method="get", path="/", text="The dashboard.", media="text/html"),
)


def description(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "harpoon-scheduler", "version": version},
        "paths": paths,
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    shapes = (JobView, TaskView, AgentView, ChangeReply, RestoreReply, ProblemView)
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    schemas["JobConfig"] = _schema(inspect.type_info(JobConfig))
    schemas["Snapshot"] = _schema(inspect.type_info(Snapshot))
    schemas["Snapshot"]["properties"]["jobs"]["items"]["properties"]["config"] = _reference("JobConfig")
    # The config travels as bytes that are encoded already; a single job comes with its tasks.
    schemas["VersionView"]["properties"]["config"] = _reference("JobConfig")
    schemas["JobView"]["properties"]["tasks"] = {"type": "array", "items": _reference("TaskView")}
    return schemas


def _schema(kind: inspect.Type) -> dict[str, Any]:
    """The schema of a config; msgspec's own does not take our durations."""
    if isinstance(kind, inspect.StructType):
        fields = {field.encode_name: _schema(field.type) for field in kind.fields}
        return {"type": "object", "properties": fields, "additionalProperties": False}
    if isinstance(kind, inspect.ListType | inspect.VarTupleType):
        return {"type": "array", "items": _schema(kind.item_type)}
    if isinstance(kind, inspect.DictType):
        return {"type": "object", "additionalProperties": _schema(kind.value_type)}
    if isinstance(kind, inspect.UnionType):
        return {"anyOf": [_schema(each) for each in kind.types]}
    if isinstance(kind, inspect.CustomType):
        return {"type": "string", "description": 'A duration as Go writes it, like "1.5s".'}
    return {"type": _PLAIN[type(kind)]}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _operation(operation: Operation) -> dict[str, Any]:
    schema: dict[str, Any] = _reference(operation.reply) if operation.reply else {}
    if operation.key:
        schema = {
            "type": "object",
            "required": [operation.key],
            "properties": {operation.key: {"type": "array", "items": schema}},
        }
    described: dict[str, Any] = {
        "summary": operation.text,
        "parameters": [
            _parameter(name, place, text)
            for place, named in (("query", operation.query), ("header", operation.headers))
            for name, text in named
        ]
        + [
            _parameter(part[1:-1], "path", "")
            for part in operation.path.split("/")
            if part.startswith("{") and part.endswith("}")
        ],
        "responses": {
            str(operation.status): {
                "description": operation.text,
                "content": {operation.media: {"schema": schema}},
            },
            **{str(status): _problem() for status in operation.errors},
        },
    }
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {JSON: {"schema": _reference(operation.body)}},
        }
    return described


def _problem() -> dict[str, Any]:
    content = {"application/problem+json": {"schema": _reference("ProblemView")}}
    return {"description": "What is wrong, the value, and what would be right.", "content": content}


def _parameter(name: str, place: str, text: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": text,
        "schema": {"type": "string"},
    }


class OpenApi:
    """GET /openapi.json."""

    def __init__(self, version: str) -> None:
        self._page = Page(msgspec.json.encode(description(version)), JSON)

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The document."""
        await send_page(req, resp, self._page, compress=True)

    on_head = on_get


def docs_html(version: str) -> str:
    """`/docs`: the same table as a page."""
    rows = "".join(
        f"<tr><td><b>{operation.method.upper()}</b></td><td><code>{escape(operation.path)}</code>"
        f"{_parameters_html(operation)}</td><td>{escape(operation.text)}</td>"
        f"<td>{operation.status}{''.join(f', {status}' for status in operation.errors)}</td></tr>"
        for operation in OPERATIONS
    )
    style = (
        "body{font:15px/1.45 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:1rem}"
        "table{border-collapse:collapse}td{padding:.35rem .8rem .35rem 0;vertical-align:top;"
        "border-bottom:1px solid #8884}small{display:block;color:#888}:root{color-scheme:light dark}"
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>harpoon API</title>'
        f"<style>{style}</style></head><body><h1>harpoon API {escape(version)}</h1>"
        '<p>Every shape is in <a href="/openapi.json">/openapi.json</a>. Errors of v1 are '
        "<code>application/problem+json</code> (RFC 9457) and say what would be right.</p>"
        f"<table>{rows}</table></body></html>"
    )


def _parameters_html(operation: Operation) -> str:
    named = (*operation.query, *operation.headers)
    return "".join(f"<small>{escape(name)}: {escape(text)}</small>" for name, text in named)
