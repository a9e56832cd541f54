"""The commands about migrations: migrate, migrations, migration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from ctl.client import Answer
from ctl.errors import RefusedError, UserMistakeError
from ctl.files import is_job_file, read_job_file
from ctl.following import wait_changed, wait_migration
from ctl.migration_shapes import Migration, Migrations
from ctl.migration_tables import migration_page, migrations_table
from ctl.names import find, unknown
from ctl.options import if_match, if_version_option, output_option, wait_options
from ctl.policy import update_options
from ctl.session import Session
from ctl.shapes import Changed
from ctl.views import all_jobs
from scheduling.durations import Duration

_PATH = ("api", "v1", "migrations")


@click.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@update_options
@if_version_option
@wait_options
@output_option
@click.pass_obj
def migrate(
    session: Session,
    old: str,
    new: str,
    update: dict[str, Any],
    if_version: int | None,
    wait: bool,
    timeout: Duration,
) -> None:
    """Replace the version OLD of a job by the config in the file NEW, step by step.

    OLD is a hash, a job, or a file of that job. The options override the update policy in NEW. With
    --wait, exit when it is done, or tell why it was not; Ctrl-C leaves it under way.
    """
    job_file = read_job_file(new)
    body: dict[str, Any] = {"old": _hash_of(session, old), "new": job_file.config}
    if update:
        body["update"] = update
    headers = if_match(if_version)
    try:
        answer = session.client.change("POST", *_PATH, body=json.dumps(body).encode(), headers=headers)
    except RefusedError as error:
        raise RefusedError(error.status, *(f"{job_file.name}: {line}" for line in error.lines)) from error
    _tell(session, answer)
    if wait:
        wait_changed(session, str(job_file.key), answer.read_as(Changed), timeout)


def _hash_of(session: Session, name: str) -> str:
    """The hash of the version that is to be replaced."""
    is_file = is_job_file(name) and Path(name).exists()
    found = find(all_jobs(session), str(read_job_file(name).key) if is_file else name)
    if found is None:
        raise unknown(name)
    # Of two versions the newer one: the scheduler says why that can't be replaced now.
    return (found.version or found.job.versions[-1]).hash


@click.command()
@output_option
@click.pass_obj
def migrations(session: Session) -> None:
    """List the migrations under way, and the last ones that are over."""
    answer = session.client.get(*_PATH)
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(migrations_table(answer.read_as(Migrations).migrations))


class ShowGroup(click.Group):
    """A group whose first word, if it is no command, is the name of what to show."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`migration m-7` is `migration show m-7`."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


@click.group(cls=ShowGroup)
def migration() -> None:
    """Show a migration, by its ID or its job, or steer it."""


@migration.command()
@click.argument("name", metavar="ID|JOB")
@wait_options
@output_option
@click.pass_obj
def show(session: Session, name: str, wait: bool, timeout: Duration) -> None:
    """Show one migration: how far it is and what it waits for; --wait follows it to its end."""
    answer = session.client.get(*_PATH, _id_of(session, name))
    told = answer.read_as(Migration)
    if wait and not told.over:
        wait_migration(session, told.job, told.id, timeout, back=told.backward)
        answer = session.client.get(*_PATH, told.id)
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(migration_page(answer.read_as(Migration)))


def _steering(action: str, text: str, *, back: bool = False) -> click.Command:
    @click.command(action, help=text)
    @click.argument("name", metavar="ID|JOB")
    @if_version_option
    @(wait_options if action != "pause" else _no_wait)
    @output_option
    @click.pass_obj
    def steer(
        session: Session,
        name: str,
        if_version: int | None,
        wait: bool = False,
        timeout: Duration = Duration(0),  # noqa: B008  # immutable
    ) -> None:
        told = session.client.get(*_PATH, _id_of(session, name)).read_as(Migration)
        headers = if_match(if_version)
        _tell(session, session.client.change("POST", *_PATH, told.id, action, headers=headers))
        if wait:
            wait_migration(session, told.job, told.id, timeout, back=back or told.backward)

    return steer


def _no_wait(command: Any) -> Any:
    return command


for _command in (
    _steering("pause", "Take no further step until it is resumed."),
    _steering("resume", "Go on; one that has failed tries again."),
    _steering("abort", "Bring the old version back.", back=True),
    _steering("promote", "The canaries are good: go on with the rest."),
):
    migration.add_command(_command)


def _id_of(session: Session, name: str) -> str:
    """The id of the migration that an id or a job means."""
    known = session.client.get(*_PATH).read_as(Migrations).migrations
    if any(one.id == name for one in known):
        return name
    found = find(all_jobs(session), name)
    if found is not None and found.job.migration is not None:
        return found.job.migration.id
    if found is not None:
        raise UserMistakeError(f"{found.job.key} has not been migrated; `harpoonctl migrations` lists all")
    raise UserMistakeError(f'no migration and no job is called "{name}"; `harpoonctl migrations` lists all')


def _tell(session: Session, answer: Answer) -> None:
    changed = answer.read_as(Changed)
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(changed.message or changed.result)
