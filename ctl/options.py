"""Options and value types that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from ctl.session import Session
from scheduling.durations import Duration

Command = TypeVar("Command", bound=Callable[..., Any])
FORMATS = click.Choice(["table", "json"])


class DurationType(click.ParamType[Duration]):
    """A duration of 0 or more, written like "30s" or "5m"."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Duration:
        """Read what the user wrote."""
        try:
            duration = value if isinstance(value, Duration) else Duration.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if duration < Duration(0):
            self.fail(f'"{value}" is negative', param, ctx)
        return duration


DURATION = DurationType()


def output_option(command: Command) -> Command:
    """`-o` after the command too, where people write it without thinking."""

    def remember(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None and isinstance(context.obj, Session):
            context.obj.output = value

    return click.option(
        "-o", "--output", type=FORMATS, expose_value=False, callback=remember, help="How to show the result."
    )(command)


def wait_options(command: Command) -> Command:
    """`--wait` and `--timeout`."""
    timeout = click.option(
        "--timeout",
        type=DURATION,
        default="5m",
        show_default=True,
        metavar="DURATION",
        help="How long to wait.",
    )
    wait = click.option("--wait", is_flag=True, help="Wait until it is so; else exit with 2.")
    return wait(timeout(command))


def if_match(version: int | None) -> dict[str, str]:
    """What a request says about the version that its user has seen; nothing for None."""
    return {} if version is None else {"If-Match": f'"{version}"'}


def if_version_option(command: Command) -> Command:
    """`--if-version`, by which of two operators only one wins."""
    return click.option(
        "--if-version",
        type=click.IntRange(min=0),
        metavar="V",
        help="Only while it is at this version, as -o json shows it; else nothing changes.",
    )(command)
