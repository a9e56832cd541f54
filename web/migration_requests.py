"""Bodies that ask for a migration: `{"old": HASH, "new": JobConfig, "update": {…}}`, in v0 and v1."""

from __future__ import annotations

from typing import Any

import falcon.asgi
import msgspec

from scheduling.answer import Answer
from scheduling.job import JobConfig, decode_hook, unknown_fields
from scheduling.migrating import PutJob
from scheduling.update import Update
from scheduling.validation import Problem, update_problems
from web.bodies import decode_job, parse_object, quotable, read_body, type_problem, unknown_problem
from web.cluster import Cluster
from web.problems import invalid
from web.requests_in import expected_version

_FIELDS = ("old", "new", "update")


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A migration as it is asked for: `update` overrides the policy of the new config, field by field."""

    old: str
    new: JobConfig
    update: Update | None


async def read_migrate(req: falcon.asgi.Request, *, strict: bool) -> Asked:
    """The body of a request to migrate. Raises HttpProblem naming what is wrong."""
    raw = parse_object(await read_body(req), strict=strict)
    if strict and (unknown := [name for name in raw if name not in _FIELDS]):
        raise invalid([unknown_problem(raw, name) for name in unknown])
    old, new = raw.get("old"), raw.get("new")
    wrong = []
    if not isinstance(old, str) or not old:
        wrong.append(Problem("old", quotable(old), "it must be the hash of the version that is replaced"))
    if not isinstance(new, dict):
        wrong.append(Problem("new", quotable(new), "it must be the new job config, an object"))
    if wrong or not isinstance(new, dict) or not isinstance(old, str):
        raise invalid(wrong)
    config = decode_job(new, strict=strict)
    return Asked(old=old, new=config, update=read_update(raw.get("update"), new.get("update")))


async def read_override(req: falcon.asgi.Request, *fields: str) -> dict[str, Any]:
    """A body that may be empty: these fields and `update`. Raises HttpProblem naming what is wrong."""
    body = await read_body(req)
    raw = parse_object(body, strict=True) if body.strip() else {}
    unknown = [name for name in raw if name not in (*fields, "update")]
    if unknown:
        raise invalid([unknown_problem(raw, name) for name in unknown])
    read_update(raw.get("update"), None)
    return raw


def read_update(override: Any, policy: Any) -> Update | None:
    """The policy of a request: the fields of `override` over those of the job's own, both as JSON."""
    if override is None:
        return None
    if not isinstance(override, dict):
        raise invalid([Problem("update", quotable(override), "it must be an object, like a job's update")])
    unknown = unknown_fields(override, Update)
    if unknown:
        raise invalid(
            [
                msgspec.structs.replace(unknown_problem(override, name), field=f"update.{name}")
                for name in unknown
            ]
        )
    raw = {**(policy if isinstance(policy, dict) else {}), **override}
    try:
        update = msgspec.convert(raw, Update, dec_hook=decode_hook)
    except msgspec.ValidationError as error:
        problem = type_problem(str(error), raw)
        raise invalid([msgspec.structs.replace(problem, field=f"update.{problem.field}")]) from None
    found = update_problems(update)
    if found:
        raise invalid(found)
    return update


async def migrate(cluster: Cluster, req: falcon.asgi.Request, asked: Asked, name: str) -> Answer:
    """Have the registry begin the migration."""
    versions = cluster.state.desired.versions(asked.new.key)
    current = max((job.version for job in versions), default=0)
    mutation = PutJob(
        config=asked.new, old=asked.old, update=asked.update, expected=expected_version(req, current)
    )
    return await cluster.submit(mutation, name)
