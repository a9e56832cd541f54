"""harpoonctl: says to a scheduler what should run, and shows what does.

Exit codes: 0 it is so, 1 a mistake or a refused request, 2 accepted but not so in time, 3 the scheduler
can't be reached; 130 after Ctrl-C, 141 when the reader of a pipe is gone. `plan` has its own, see
`ctl.plans`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ctl.changes import schedule, unschedule
from ctl.client import Client
from ctl.console import console
from ctl.errors import INTERRUPTED, HarpoonctlError
from ctl.exec_command import run_in_task
from ctl.hosts import agent
from ctl.job_actions import history, restart, revert, start, stop
from ctl.migrations import migrate, migration, migrations
from ctl.options import DURATION, FORMATS
from ctl.outage import brake
from ctl.plans import plan
from ctl.rebalance import rebalance
from ctl.session import Output, Session, complain
from ctl.signals import send_signal
from ctl.snapshots import snapshot
from ctl.views import agents, job, jobs, members, ps, registry, version
from ctl.watch import events, logs
from scheduling.durations import Duration

DEFAULT_ENDPOINT = "http://127.0.0.1:4444"


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--endpoint",
    envvar="HARPOON_ENDPOINT",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    metavar="URL",
    help="The scheduler. [$HARPOON_ENDPOINT]",
)
@click.option(
    "-o",
    "--output",
    envvar="HARPOON_OUTPUT",
    type=FORMATS,
    default="table",
    show_default=True,
    help="Tables for people, or what the API answers. [$HARPOON_OUTPUT]",
)
@click.option(
    "--request-timeout",
    envvar="HARPOON_REQUEST_TIMEOUT",
    type=DURATION,
    default="30s",
    show_default=True,
    metavar="DURATION",
    help="How long one request may take. [$HARPOON_REQUEST_TIMEOUT]",
)
@click.pass_context
def cli(context: click.Context, endpoint: str, output: Output, request_timeout: Duration) -> None:
    """Schedule jobs on a cluster and watch them run."""
    if request_timeout == Duration(0):
        raise click.BadParameter("it must be more than 0", param_hint="--request-timeout")
    client = Client(endpoint, timeout_seconds=request_timeout.seconds)
    context.obj = Session(client, output, console(sys.stdout), console(sys.stderr))


COMMANDS = (
    schedule,
    plan,
    unschedule,
    stop,
    start,
    restart,
    migrate,
    migrations,
    migration,
    history,
    revert,
    jobs,
    job,
    ps,
    agents,
    agent,
    members,
    rebalance,
    brake,
    events,
    logs,
    send_signal,
    run_in_task,
    registry,
    snapshot,
    version,
)
for command in COMMANDS:
    cli.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; the exit code, with every failure told on stderr."""
    err = console(sys.stderr)
    try:
        # What a command returns is None; --help returns its exit code.
        return cli.main(list(arguments), prog_name="harpoonctl", standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 1
    except click.ClickException as error:
        complain(err, error.format_message())
        if isinstance(error, click.UsageError) and error.ctx is not None:
            complain(err, f"see {error.ctx.command_path} --help")
        return 1
    except click.Abort:  # click's word for Ctrl-C
        return INTERRUPTED
    except HarpoonctlError as error:
        complain(err, *error.lines)
        return error.exit_code
    except OSError as error:  # the disk that stdout goes to is full, or the like
        complain(err, f"can't write: {error.strerror or error}")
        return 1


def main() -> NoReturn:
    """The program."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
