"""The command that runs a command in a task, with the user's terminal or in a pipe."""

from __future__ import annotations

import asyncio
import os
import signal

import click

from ctl.errors import PIPE_CLOSED, HarpoonctlError, RefusedError, UnreachableError, UserMistakeError
from ctl.exec_link import ExecLink
from ctl.session import Session
from ctl.terminal import is_terminal, window
from scheduling.container import ExitStatus
from scheduling.exec_wire import ExecProblem, ExecReply, ExecRequest

_SIGNALLED = 128  # and the signal's number, as shells count it


class _NotRunError(HarpoonctlError):
    """The program is not there, or can't be run: exit codes as of a shell."""

    def __init__(self, problem: ExecProblem) -> None:
        super().__init__(problem.detail)
        self.exit_code = problem.exit_status  # type: ignore[misc]  # each has its own


@click.command("exec")
@click.option(
    "-t/-T",
    "--tty/--no-tty",
    default=None,
    help="With a terminal, or without; by default if stdin and stdout are one.",
)
@click.option(
    "-i", "--stdin/--no-stdin", default=True, help="Hand on stdin (so by default), or give an empty one."
)
@click.argument("task")
@click.argument("command", nargs=-1, required=True, metavar="-- COMMAND...")
@click.pass_obj
def run_in_task(session: Session, task: str, command: tuple[str, ...], tty: bool | None, stdin: bool) -> None:
    """Run COMMAND where a task runs, as the task's user and with its environment.

    On a terminal all keys go to the command, Ctrl-C too. Exits with the command's exit code, 128 and the
    signal of one that was killed, 127 if there is no such program, 126 if it can't be run. It ends, with all
    it has started, when harpoonctl or the task does.
    """
    if tty and not is_terminal():
        raise UserMistakeError("stdin and stdout are no terminal: leave out -t, or --tty")
    with_terminal = is_terminal() if tty is None else tty
    rows, columns = window()
    request = ExecRequest(
        command=list(command),
        tty=with_terminal,
        rows=rows,
        columns=columns,
        term=os.environ.get("TERM", "") if with_terminal else "",
    )
    url, proxied = session.client.websocket("api", "v1", "tasks", task, "exec")
    link = ExecLink(session.client.endpoint, url, proxied=proxied)
    raise SystemExit(_exit_code(asyncio.run(_run(link, request, stdin=stdin))))


async def _run(link: ExecLink, request: ExecRequest, *, stdin: bool) -> ExecReply:
    """As `ExecLink.run`; puts the terminal back also when this program is told to end."""
    running = asyncio.ensure_future(link.run(request, stdin=stdin))
    told: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        told.append(number)
        running.cancel()

    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await running
    except BrokenPipeError:
        raise SystemExit(PIPE_CLOSED) from None
    except asyncio.CancelledError:
        if told:
            raise SystemExit(_SIGNALLED + told[0]) from None
        raise


def _exit_code(reply: ExecReply) -> int:
    if isinstance(reply.ended, ExitStatus):
        return _SIGNALLED + reply.ended.signal if reply.ended.signaled else reply.ended.exit_status
    problem = reply.problem or ExecProblem(500, "it did not say how it ended")
    if problem.exit_status:
        raise _NotRunError(problem)
    if problem.status < 500:
        raise RefusedError(problem.status, problem.detail)
    raise UnreachableError(problem.detail)
