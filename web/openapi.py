"""`/openapi.json` and `/docs`: what the scheduler understands, from one table and the v1 shapes."""

from __future__ import annotations

from html import escape
from typing import Any

import falcon.asgi
import msgspec
from msgspec import inspect

from scheduling.job import JobConfig
from scheduling.snapshot import Snapshot
from scheduling.update import Update
from web.encoded import JSON
from web.members import MemberView
from web.operation import Operation
from web.operations import OPERATIONS
from web.pages import Page, send_page
from web.rebalance_shapes import RebalancePlanView, RebalanceView
from web.shapes import (
    AgentView,
    BrakeView,
    ChangeReply,
    JobView,
    MigrationView,
    PastView,
    PlanView,
    ProblemView,
    RegistrationReply,
    RestoreReply,
    SignalReply,
    TaskView,
)

_PLAIN: dict[type, str] = {
    inspect.StrType: "string",
    inspect.IntType: "integer",
    inspect.FloatType: "number",
    inspect.BoolType: "boolean",
    inspect.NoneType: "null",
}


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
    shapes = (
        JobView,
        MigrationView,
        PlanView,
        PastView,
        TaskView,
        AgentView,
        BrakeView,
        MemberView,
        ChangeReply,
        RegistrationReply,
        RestoreReply,
        SignalReply,
        ProblemView,
        RebalanceView,
        RebalancePlanView,
    )
    _, schemas = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    schemas["JobConfig"] = _schema(inspect.type_info(JobConfig))
    schemas["Snapshot"] = _schema(inspect.type_info(Snapshot))
    schemas["Snapshot"]["properties"]["jobs"]["items"]["properties"]["config"] = _reference("JobConfig")
    # The config travels as bytes that are encoded already; a single job comes with its tasks.
    schemas["VersionView"]["properties"]["config"] = _reference("JobConfig")
    schemas["PastView"]["properties"]["config"] = _reference("JobConfig")
    update = {"update": _schema(inspect.type_info(Update))}
    schemas["AgentBody"] = {
        "type": "object",
        "required": ["endpoint"],
        "properties": {
            "endpoint": {"type": "string", "description": "HOST:PORT, or a URL."},
            "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }
    schemas["RegistrationBody"] = {
        "type": "object",
        "required": ["endpoint", "identity"],
        "properties": {
            **schemas["AgentBody"]["properties"],
            "identity": {"type": "string", "description": "Of its data directory: letters and digits."},
        },
    }
    schemas["DeadlineBody"] = {
        "type": "object",
        "properties": {"deadline": {"type": "string", "description": 'Like "30m".'}},
    }
    schemas["SignalBody"] = {
        "type": "object",
        "required": ["signal"],
        "properties": {"signal": {"type": "string", "description": "HUP, USR1, TERM…"}},
    }
    schemas["MigrateBody"] = {
        "type": "object",
        "required": ["old", "new"],
        "properties": {
            "old": {"type": "string", "description": "The hash of the version that is replaced."},
            "new": _reference("JobConfig"),
            **update,
        },
    }
    schemas["RestartBody"] = {"type": "object", "properties": update}
    schemas["RevertBody"] = {"type": "object", "properties": {"version": {"type": "integer"}, **update}}
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
    if isinstance(kind, inspect.LiteralType):
        return {"enum": list(kind.values)}
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
            "required": not operation.bodiless,
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
