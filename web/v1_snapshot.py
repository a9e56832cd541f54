"""`/api/v1/snapshot`: the jobs and agents as one document, to keep somewhere else and to bring back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import falcon.asgi
import msgspec

from scheduling.job import decode_hook, unknown_fields
from scheduling.registry import RestoreSnapshot
from scheduling.snapshot import (
    FORMAT,
    SavedAgent,
    SavedJob,
    Snapshot,
    snapshot_problems,
    take,
    version_problems,
)
from scheduling.validation import Problem
from web import limits
from web.bodies import quotable, read_body, type_problem, unknown_problem
from web.cluster import Cluster
from web.encoded import ENCODER, JSON
from web.problems import STATUSES, HttpProblem, invalid, refused, unavailable
from web.requests_in import INDEX, expected_version, request_id, settle
from web.shapes import RestoreReply

PATH = "/api/v1/snapshot"
_LISTS: dict[str, type[msgspec.Struct]] = {"jobs": SavedJob, "agents": SavedAgent}


class OneSnapshot:
    """GET and PUT of /snapshot."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._restoring = 0

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """The snapshot as a file to keep; the ETag is the version of the registry."""
        state = self._cluster.state
        await settle(req, resp, state)
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = written(take(state.desired, state.version, now))
        resp.set_header("ETag", f'"{state.version}"')
        resp.set_header("Cache-Control", "no-store")  # it is new each time, and may hold secrets
        resp.downloadable_as = f"harpoon-snapshot-{state.version}.json"
        resp.content_type = JSON
        resp.data = body

    on_head = on_get

    async def on_put(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """200, the jobs are those of the snapshot; 400 when anything in it is wrong."""
        if self._restoring >= limits.MOST_RESTORES:
            raise unavailable("another snapshot is being restored; nothing has changed, try again")
        self._restoring += 1
        try:
            await self._restore(req, resp)
        finally:
            self._restoring -= 1

    async def _restore(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        name = request_id(req, resp)
        expected = expected_version(req, self._cluster.state.version)
        body = await read_body(req, limits.LARGEST_SNAPSHOT_BYTES)
        # Megabytes take seconds: other requests go on meanwhile.
        snapshot = await asyncio.to_thread(read, body)
        mutation = RestoreSnapshot(
            jobs=snapshot.jobs, agents=snapshot.agents, expected=expected, taken_at=snapshot.version
        )
        answer = await self._cluster.submit(mutation, name)
        if not answer.accepted:
            raise refused(answer)
        resp.set_header("ETag", f'"{answer.version}"')
        resp.set_header(INDEX, str(answer.version))
        resp.status = STATUSES[answer.result]
        resp.content_type = JSON
        reply = RestoreReply(
            result=answer.result,  # type: ignore[arg-type] # the refusals have been raised
            message=answer.message,
            version=answer.version,
        )
        resp.data = msgspec.json.encode(reply)


def written(snapshot: Snapshot) -> bytes:
    """A snapshot as JSON, each job and agent on a line of its own, for those who compare files."""
    empty = msgspec.structs.replace(snapshot, jobs=(), agents=())
    head, between, end = ENCODER.encode(empty).split(b"[]")
    return head + _lines(snapshot.jobs) + between + _lines(snapshot.agents) + end + b"\n"


def _lines(items: tuple[SavedJob, ...] | tuple[SavedAgent, ...]) -> bytes:
    lines = b",\n".join(ENCODER.encode(item) for item in items)
    return b"[\n%s\n]" % lines if lines else b"[]"


def read(body: bytes) -> Snapshot:
    """A snapshot that can be restored. Raises HttpProblem naming everything that is wrong."""
    raw = _parsed(body)
    if raw.get("format") != FORMAT:
        right = f"it must be {FORMAT}, the only one this scheduler knows"
        raise invalid([Problem("format", quotable(raw.get("format")), right)])
    unknown = _unknown(raw)
    if unknown:
        raise invalid(unknown)
    try:
        snapshot = msgspec.convert(raw, Snapshot, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        raise invalid([type_problem(str(error), raw)]) from None
    found = version_problems(snapshot) + snapshot_problems(snapshot)
    if found:
        raise invalid(found)
    return snapshot


def _parsed(body: bytes) -> dict[str, Any]:
    if not body.strip():
        raise HttpProblem(400, "the body is empty; send a snapshot, as a GET of this gives it")
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpProblem(400, f"the body is not JSON: {error}") from None
    except RecursionError:
        raise HttpProblem(400, "the body is nested too deeply; a snapshot has 7 levels") from None
    if not isinstance(raw, dict):
        raise HttpProblem(400, "the body is no object; send a snapshot, as a GET of this gives it")
    return raw


def _unknown(raw: dict[str, Any]) -> list[Problem]:
    """Fields that are not known here: they may come from a newer scheduler, and mean something."""
    known = Snapshot.__struct_fields__
    found = [unknown_problem(raw, name) for name in raw if name not in known]
    for kind, shape in _LISTS.items():
        items = raw.get(kind)
        for position, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                found += [
                    msgspec.structs.replace(unknown_problem(item, name), field=f"{kind}[{position}].{name}")
                    for name in unknown_fields(item, shape)
                ]
    return found


def add_routes(app: falcon.asgi.App[Any, Any], cluster: Cluster) -> None:
    """The route of the snapshot."""
    app.add_route(PATH, OneSnapshot(cluster))
