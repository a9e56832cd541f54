"""The command that sends a signal to a task."""

from __future__ import annotations

import click
import msgspec

from ctl.options import output_option
from ctl.session import Session


class _Sent(msgspec.Struct, frozen=True):
    message: str = ""


@click.command("signal")
@click.argument("task")
@click.argument("name", metavar="SIGNAL")
@output_option
@click.pass_obj
def send_signal(session: Session, task: str, name: str) -> None:
    """Send SIGNAL, like HUP or USR1, to the program of a task.

    Sent once and never tried again: twice may mean something else. A task that ends by it is started again
    by its restart policy.
    """
    body = msgspec.json.encode({"signal": name.upper().removeprefix("SIG")})
    answer = session.client.post_once("api", "v1", "tasks", task, "signal", body=body)
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(answer.read_as(_Sent).message)
