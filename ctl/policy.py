"""The options of `migrate` that override the update policy of a job file, field by field."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ctl.options import DURATION
from scheduling.durations import Duration
from scheduling.update import STRATEGIES

_OPTIONS = (
    click.option("--strategy", type=click.Choice(STRATEGIES), help="How to go about it."),
    click.option("--max-parallel", type=click.IntRange(min=1), metavar="N", help="Tasks changed at once."),
    click.option("--floor", type=click.IntRange(min=0), metavar="N", help="Tasks that run all the time."),
    click.option("--surge", type=click.IntRange(min=0), metavar="N", help="Tasks beyond the larger scale."),
    click.option("--canary", type=click.IntRange(min=1), metavar="N", help="Tasks that go first."),
    click.option("--auto-promote", is_flag=True, help="Go on by itself when the canaries are good."),
    click.option("--no-auto-revert", is_flag=True, help="Stop where it failed, instead of going back."),
    click.option("--min-healthy-time", type=DURATION, metavar="D", help="How long a task must run to count."),
    click.option(
        "--progress-deadline", type=DURATION, metavar="D", help="It fails when nothing moves so long."
    ),
)
_FIELDS = ("strategy", "max_parallel", "floor", "surge", "canary", "min_healthy_time", "progress_deadline")


def update_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """All of them; the command gets `update`, just what was given, as the API takes it."""

    @functools.wraps(command)
    def with_update(*args: Any, auto_promote: bool, no_auto_revert: bool, **options: Any) -> Any:
        given = {name: options.pop(name) for name in _FIELDS}
        update = {name: _plain(value) for name, value in given.items() if value is not None}
        if auto_promote:
            update["auto_promote"] = True
        if no_auto_revert:
            update["auto_revert"] = False
        return command(*args, update=update, **options)

    for option in reversed(_OPTIONS):
        with_update = option(with_update)
    return with_update


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Duration) else value
