"""The commands that stay and watch: events, logs."""

from __future__ import annotations

from datetime import datetime

import click

from ctl.client import decode
from ctl.errors import HarpoonctlError, RefusedError, UnreachableError
from ctl.feed import follow
from ctl.options import output_option
from ctl.session import Session
from ctl.story import story
from ctl.text import clean_log_line, counted
from ctl.world import World
from scheduling.sse import Event, EventParser, EventTooLargeError


@click.command()
@output_option
@click.pass_obj
def events(session: Session) -> None:
    """Print what changes, a line for each change, until Ctrl-C."""
    world = World()
    heard = False

    def on_break(failure: HarpoonctlError) -> bool:
        if not heard or isinstance(failure, RefusedError):
            raise failure
        session.complain(f"{failure.lines[0]}; trying again")
        return True

    for event in follow(session.client, on_break):
        _show_event(session, world, event, first=not heard)
        heard = True


def _show_event(session: Session, world: World, event: Event, *, first: bool) -> None:
    if session.as_json:
        data: object = decode(event.data, object, "the event stream")
        session.json_line({"event": event.event, "id": event.id, "data": data})
        return
    changes = world.apply(event)
    now = datetime.now().strftime("%H:%M:%S")
    if first and event.event == "snapshot":
        # What is there already did not happen now.
        counts = ((len(world.jobs), "job"), (len(world.tasks), "task"), (len(world.agents), "agent"))
        session.line(f"{now} start {', '.join(counted(number, thing) for number, thing in counts)}")
        return
    for change in changes:
        if told := story(change):
            session.line(f"{now} {change.kind:5} {told}")


@click.command()
@click.argument("task")
@click.option("-f", "--follow", "following", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=100, show_default=True, help="Lines back.")
@click.option("--agent", metavar="NAME", help="Where it was before, if it moved.")
@output_option
@click.pass_obj
def logs(session: Session, task: str, following: bool, lines: int, agent: str | None) -> None:
    """Print what a task wrote; `harpoonctl ps` tells the names of tasks.

    Of a task that is gone, agents keep it for a while, a day if not told otherwise.
    """
    path = ["api", "v1", "tasks", task, "log"]
    history = {"history": str(lines), "agent": agent}
    if not following:
        answer = session.client.get(*path, query=history)
        if session.as_json:
            session.json(answer.json())
        else:
            _print_lines(session, answer.read_as(list[str]))
        return
    # A task may be silent for days; the kernel's keep-alive tells when its host is gone.
    with session.client.stream(*path, query={**history, "follow": "true"}) as pieces:
        parser = EventParser()
        for piece in pieces:
            try:
                found = parser.feed(piece)
            except EventTooLargeError as error:
                raise UnreachableError(f"the log of {task}: {error}") from error
            for event in found:
                new = decode(event.data, list[str], "the log")
                if session.as_json:
                    session.json_line(new)
                else:
                    _print_lines(session, new)


def _print_lines(session: Session, lines: list[str]) -> None:
    for line in lines:
        session.raw_line(clean_log_line(line))
