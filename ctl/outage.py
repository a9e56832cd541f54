"""The commands for when hosts are gone: agent lost, brake, brake release."""

from __future__ import annotations

import click

from ctl.hosts import agent
from ctl.options import if_match, if_version_option, output_option
from ctl.session import Session
from ctl.shapes import Agents, Brake, Changed
from ctl.text import clean, counted

_BRAKE = ("api", "v1", "brake")


@agent.command("lost")
@click.argument("name", metavar="NAME")
@if_version_option
@output_option
@click.pass_obj
def agent_lost(session: Session, name: str, if_version: int | None) -> None:
    """Declare the agent NAME lost now: its tasks are placed elsewhere.

    Neither its tolerance nor the brake nor a job's on_lost is waited for. Say so only of a host that is
    gone: what still runs there runs twice, until the agent answers again; then one copy of each task is
    kept. Refused while the agent is connected.
    """
    known = session.client.get("api", "v1", "agents").read_as(Agents).agents
    tasks = next((one.tasks for one in known if one.name == name), 0)
    if tasks and not session.as_json:
        session.err.write_line(f"its {counted(tasks, 'task')} will be placed elsewhere")
    _change(session, "api", "v1", "agents", name, "lost", if_version=if_version)


@click.group(invoke_without_command=True)
@output_option
@click.pass_context
def brake(context: click.Context) -> None:
    """Show the brake: while more than half of the agents are away at once, none is declared lost."""
    if context.invoked_subcommand is not None:
        return
    session: Session = context.obj
    answer = session.client.get(*_BRAKE)
    if session.as_json:
        session.json(answer.json())
        return
    shown = answer.read_as(Brake)
    session.line(shown.message)
    if shown.waiting:
        session.line(f"away and not lost: {', '.join(shown.waiting)}")
    if shown.holds:
        session.line("if these hosts are gone: harpoonctl brake release")


@brake.command()
@output_option
@click.pass_obj
def release(session: Session) -> None:
    """Release the brake until this outage is over.

    Agents that are away for longer than is tolerated are then lost, and their tasks are placed elsewhere.
    When no more than half of the agents are away the release is forgotten. Refused while the brake does
    not hold.
    """
    shown = session.client.get(*_BRAKE).read_as(Brake)
    if shown.holds and not session.as_json:
        names = clean(", ".join(shown.waiting))
        session.err.write_line(f"lost once they are away for longer than is tolerated: {names}")
    _change(session, *_BRAKE, "release")


def _change(session: Session, *path: str, if_version: int | None = None) -> None:
    answer = session.client.change("POST", *path, headers=if_match(if_version))
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(answer.read_as(Changed).message)
