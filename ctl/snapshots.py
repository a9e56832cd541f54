"""The commands for backups: snapshot save, snapshot restore."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from config.bounds import ATTEMPTS
from config.bounds import MOST_DIFFERENCES_SHOWN as _SHOWN
from ctl.client import Answer
from ctl.errors import RefusedError, UnreachableError, UserMistakeError
from ctl.files import STDIN
from ctl.options import output_option
from ctl.session import Session
from ctl.shapes import Changed
from ctl.text import clean, counted
from scheduling.job import decode_hook
from scheduling.snapshot import FORMAT, Difference, SavedAgent, SavedJob, Snapshot, compare

PATH = ("api", "v1", "snapshot")
# How often a registry that other changes keep from standing still is tried.


@click.group()
def snapshot() -> None:
    """Back up which jobs should run and which agents are known, and bring a backup back."""


@snapshot.command()
@click.argument("file", metavar="[FILE|-]", required=False)
@click.option("--force", is_flag=True, help="Overwrite FILE if it is there.")
@output_option
@click.pass_obj
def save(session: Session, file: str | None, force: bool) -> None:
    """Write a backup to FILE, which only you can read; - is stdout.

    Without FILE it is called harpoon-snapshot-VERSION.json. Where tasks run is no part of it.
    """
    if file is not None and file != STDIN:
        _check_free(Path(file), force)
    answer, saved = _current(session)
    if file == STDIN:
        session.json(answer.json())
        return
    path = Path(file or f"harpoon-snapshot-{saved.version}.json")
    try:
        _check_free(path, force)
        _write(path, answer.body)
    except OSError as error:
        raise UserMistakeError(f"{path}: {error.strerror or error}") from error
    if session.as_json:
        told = {"file": str(path), "version": saved.version, "jobs": len(saved.jobs)}
        session.json({**told, "agents": len(saved.agents)})
    else:
        session.line(f"saved {_size(saved)} at version {saved.version} to {path}")


@snapshot.command()
@click.argument("file")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@click.pass_obj
def restore(session: Session, file: str, yes: bool) -> None:
    """Make the jobs exactly those of the backup in FILE; - is stdin.

    First it shows what would change, and asks. Tasks that run already go on and are not started again;
    jobs that are not in FILE are unscheduled.
    """
    name = "standard input" if file == STDIN else file
    body = _read(file, name)
    wanted = _decode(body, name)
    difference = compare(_current(session)[1], wanted)
    for line in (f"{name}: {_size(wanted)}, saved {wanted.saved_at}", *told(difference)):
        session.err.write_line(clean(line))
    confirmed = False
    if not yes and not difference.is_empty:
        _confirm(file)
        confirmed = True
    try:
        answer = _put_as_shown(session, body, wanted, difference) if confirmed else _put(session, body)
    except RefusedError as error:
        raise RefusedError(error.status, *(f"{name}: {line}" for line in error.lines)) from error
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(answer.read_as(Changed).message)


def told(difference: Difference) -> Iterator[str]:
    """What restoring would do, a line for each job and agent."""
    added = [f"add     {_job(job)}" for job in difference.added]
    changed = [f"change  {_job(new)}: {_what_changes(old, new)}" for old, new in difference.changed]
    removed = [f"remove  {_job(job)}, its tasks are stopped" for job in difference.removed]
    agents = [f"add     {_agent(agent)}" for agent in difference.new_agents]
    unknown = [
        f"unknown {_agent(agent)}: what runs there would be started again elsewhere; make it known first"
        for agent in difference.unknown_agents
    ]
    for lines in (added, changed, removed, agents, unknown):
        yield from lines[:_SHOWN]
        if len(lines) > _SHOWN:
            yield f"{lines[0].partition(' ')[0]:<7} {len(lines) - _SHOWN} more"
    yield f"{counted(difference.same, 'job')} as before"


def _job(job: SavedJob) -> str:
    return f"{job.config.key} ({job.hash}), {_scale(job)}"


def _scale(job: SavedJob) -> str:
    scale = job.config.scale
    return counted(scale, "task") if isinstance(scale, int) else "a task on each agent"


def _agent(agent: SavedAgent) -> str:
    return f"the agent {agent.name} ({agent.endpoint})"


def _what_changes(old: SavedJob, new: SavedJob) -> str:
    if old.config.scale != new.config.scale:
        return f"it has {_scale(old)} now"
    return "its policy"


def _size(saved: Snapshot) -> str:
    return f"{counted(len(saved.jobs), 'job')} and {counted(len(saved.agents), 'agent')}"


def _current(session: Session) -> tuple[Answer, Snapshot]:
    answer = session.client.get(*PATH)
    try:
        return answer, _decode(answer.body, answer.url)
    except UserMistakeError as error:
        raise UnreachableError(*error.lines) from error


def _decode(body: bytes, source: str) -> Snapshot:
    """A snapshot as far as this program knows it; what is wrong in it is the scheduler's to say."""
    try:
        if msgspec.json.decode(body, type=_Format).format == FORMAT:
            return msgspec.json.decode(body, type=Snapshot, dec_hook=decode_hook)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UserMistakeError(f"{source} is no snapshot of a scheduler: {error}") from error
    raise UserMistakeError(f"{source} is no snapshot of format {FORMAT}, the only one this program knows")


class _Format(msgspec.Struct, frozen=True):
    format: int


def _read(file: str, name: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == STDIN else Path(file).read_bytes()
    except OSError as error:
        raise UserMistakeError(f"{name}: {error.strerror or error}") from error


def _check_free(path: Path, force: bool) -> None:
    if path.exists() and not (force and path.is_file()):
        raise UserMistakeError(f"{path} is there already; choose another name, or overwrite it with --force")


def _write(path: Path, body: bytes) -> None:
    """The whole file or none, for nobody else to read: the environment of a job may hold secrets."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _confirm(file: str) -> None:
    """Ask on the terminal. Raises UserMistakeError without one, or when the answer is no."""
    if file == STDIN or not sys.stdin.isatty():
        raise UserMistakeError("nothing was changed: nobody can be asked here; --yes restores without asking")
    if not click.confirm("Restore it?", err=True):
        raise UserMistakeError("nothing was changed")


def _put(session: Session, body: bytes, version: int | None = None) -> Answer:
    condition = {} if version is None else {"If-Match": f'"{version}"'}
    return session.client.change("PUT", *PATH, body=body, headers=condition)


def _put_as_shown(session: Session, body: bytes, wanted: Snapshot, shown: Difference) -> Answer:
    """Restore what was agreed to, and nothing else: others may have changed jobs meanwhile.

    The registry's version also counts placements, so one that has moved on is looked at again.
    """
    for _ in range(ATTEMPTS):
        _, now = _current(session)
        if compare(now, wanted) != shown:
            raise RefusedError(412, "jobs were changed meanwhile, so nothing was restored; look again")
        try:
            return _put(session, body, now.version)
        except RefusedError as error:
            if error.status != 412:
                raise
    raise RefusedError(412, "placements change too fast to be sure; --yes restores whatever changes")
