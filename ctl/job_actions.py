"""The commands about one job beside its config: history, revert, restart, stop, start."""

from __future__ import annotations

import json
from typing import Any

import click

from ctl.errors import UserMistakeError
from ctl.following import wait_changed, wait_goal
from ctl.goals import AllGone
from ctl.migration_shapes import History
from ctl.migration_tables import history_table
from ctl.names import Found
from ctl.options import if_match, if_version_option, output_option, wait_options
from ctl.session import Session
from ctl.shapes import Changed
from ctl.views import found_job
from scheduling.durations import Duration


@click.command()
@click.argument("name", metavar="JOB")
@output_option
@click.pass_obj
def history(session: Session, name: str) -> None:
    """List the versions that a job has had, the newest first."""
    answer = session.client.get(*_path(found_job(session, name), "history"))
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(history_table(answer.read_as(History).versions))


@click.command()
@click.argument("name", metavar="JOB")
@click.argument("version", type=click.IntRange(min=1), required=False)
@if_version_option
@wait_options
@output_option
@click.pass_obj
def revert(
    session: Session, name: str, version: int | None, if_version: int | None, wait: bool, timeout: Duration
) -> None:
    """Migrate a job back to a VERSION that `history` shows; without, to the last one that was good."""
    found = found_job(session, name)
    body = {} if version is None else {"version": version}
    changed = _post(session, found, "revert", if_version, body)
    if wait:
        wait_changed(session, found.job.key, changed, timeout)


@click.command()
@click.argument("name", metavar="JOB")
@if_version_option
@wait_options
@output_option
@click.pass_obj
def restart(session: Session, name: str, if_version: int | None, wait: bool, timeout: Duration) -> None:
    """Replace all tasks of a job by new ones of the same config, by its update policy."""
    found = found_job(session, name)
    changed = _post(session, found, "restart", if_version)
    if wait:
        wait_changed(session, found.job.key, changed, timeout)


@click.command()
@click.argument("name", metavar="JOB")
@if_version_option
@wait_options
@output_option
@click.pass_obj
def stop(session: Session, name: str, if_version: int | None, wait: bool, timeout: Duration) -> None:
    """Stop the tasks of a job without forgetting it; `start` runs it again."""
    found = found_job(session, name)
    _post(session, found, "stop", if_version)
    if wait:
        prefixes = tuple(version.task_prefix for version in found.job.versions)
        wait_goal(session, AllGone(found.job.key, prefixes, stopped=True), timeout)


@click.command()
@click.argument("name", metavar="JOB")
@if_version_option
@wait_options
@output_option
@click.pass_obj
def start(session: Session, name: str, if_version: int | None, wait: bool, timeout: Duration) -> None:
    """Start the tasks of a stopped job again."""
    found = found_job(session, name)
    changed = _post(session, found, "start", if_version)
    if wait:
        wait_changed(session, found.job.key, changed, timeout)


def _post(
    session: Session, found: Found, action: str, if_version: int | None, body: dict[str, Any] | None = None
) -> Changed:
    if found.version is not None and len(found.job.versions) > 1:
        raise UserMistakeError(
            f"{found.version.hash} is one of {len(found.job.versions)} versions of {found.job.key}; "
            f"{action} means the whole job, so name that"
        )
    answer = session.client.change(
        "POST",
        *_path(found, action),
        body=json.dumps(body).encode() if body is not None else None,
        headers=if_match(if_version),
    )
    changed = answer.read_as(Changed)
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(changed.message or f"{found.job.key} ({changed.hash}) is {changed.result}")
    return changed


def _path(found: Found, action: str) -> list[str]:
    return ["api", "v1", "jobs", *found.job.key.split("/"), action]
