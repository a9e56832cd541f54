"""The commands that change what should run: schedule, unschedule."""

from __future__ import annotations

from pathlib import Path

import click

from ctl.errors import RefusedError, UserMistakeError
from ctl.files import STDIN, is_job_file, read_job_file
from ctl.following import wait_changed, wait_goal
from ctl.goals import AllGone
from ctl.names import find, unknown
from ctl.options import if_match, if_version_option, output_option, wait_options
from ctl.session import Session
from ctl.shapes import Changed, RpcReply
from ctl.views import all_jobs
from scheduling.durations import Duration


@click.command()
@click.argument("file")
@click.option("--approve", metavar="TOKEN", help="Only if it does what the plan with this token says.")
@if_version_option
@wait_options
@output_option
@click.pass_obj
def schedule(
    session: Session,
    file: str,
    approve: str | None,
    if_version: int | None,
    wait: bool,
    timeout: Duration,
) -> None:
    """Make the job in FILE (JSON, YAML or TOML; - is stdin) run, or change it to what FILE says.

    Another config than the one that runs is migrated to, by the update policy in FILE. The same again
    changes nothing. With --wait, exit when all its tasks run, or tell why they do not.
    """
    job_file = read_job_file(file)
    key = job_file.key
    path = ["api", "v1", "jobs", key.product, key.environment, key.job]
    try:
        answer = session.client.change(
            "PUT", *path, body=job_file.json(), query={"approve": approve}, headers=if_match(if_version)
        )
    except RefusedError as error:
        raise RefusedError(error.status, *(f"{job_file.name}: {line}" for line in error.lines)) from error
    changed = answer.read_as(Changed)
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(changed.message or f"{key} ({changed.hash}) is {changed.result}")
    if wait:
        wait_changed(session, str(key), changed, timeout)


@click.command()
@click.argument("name", metavar="FILE|HASH|JOB")
@if_version_option
@wait_options
@output_option
@click.pass_obj
def unschedule(session: Session, name: str, if_version: int | None, wait: bool, timeout: Duration) -> None:
    """Stop a job and forget it.

    A FILE means the job of that product, environment and name, in whatever version it runs; a HASH only
    that version. With --wait, exit when none of its tasks is left.
    """
    # A job may be called web.json too; it is a file if there is such a file.
    is_file = name == STDIN or (is_job_file(name) and Path(name).exists())
    file_key = str(read_job_file(name).key) if is_file else None
    found = find(all_jobs(session), file_key or name)
    if found is not None and found.version is not None:
        if if_version is not None:
            raise UserMistakeError("--if-version is for a whole job; a HASH names its version already")
        # Deleting the job would take along a version that came in the meantime. A hash may be that of two
        # versions, while the job is restarted.
        named = [each for each in found.job.versions if each.hash == found.version.hash]
        asked = found.version.hash
        if name == found.version.task_prefix != asked:
            named, asked = [found.version], name  # just this one of the two
        goal = AllGone(found.job.key, tuple(each.task_prefix for each in named), one_version=True)
        answer = session.client.change("PUT", "api", "v0", "unschedule", asked)
        said = answer.read_as(RpcReply).msg
    elif found is not None or file_key is not None:
        # The scheduler says so itself if it does not know the job of a file.
        key = found.job.key if found else str(file_key)
        prefixes = tuple(version.task_prefix for version in found.job.versions) if found else ()
        goal = AllGone(key, prefixes)
        answer = session.client.change(
            "DELETE", "api", "v1", "jobs", *key.split("/"), headers=if_match(if_version)
        )
        said = answer.read_as(Changed).message
    else:
        raise UserMistakeError(f"{name}: no such file") if is_job_file(name) else unknown(name)
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(said or f"{goal.key} is unscheduled")
    if wait:
        wait_goal(session, goal, timeout)
        whose = found.version.hash if found and found.version else goal.key
        if not session.as_json:
            session.line(f"nothing of {whose} is left")
