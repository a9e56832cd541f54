"""The command that looks before it leaps: plan. Its exit codes tell scripts what would happen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import click

from ctl.errors import HarpoonctlError, RefusedError
from ctl.files import read_job_file
from ctl.migration_shapes import Plan
from ctl.migration_tables import plan_page
from ctl.options import output_option
from ctl.session import Session

NOTHING, SOMETHING, NO_PLACE, ERROR = 0, 1, 2, 255


class FailedPlanError(HarpoonctlError):
    """There is no plan: 1, 2 and 3 would say something else here."""

    exit_code: ClassVar[int] = ERROR


class PlanCommand(click.Command):
    """A command whose every failure has the one exit code."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line."""
        with _failures():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run."""
        with _failures():
            return super().invoke(ctx)


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except HarpoonctlError as error:
        raise FailedPlanError(*error.lines) from error
    except click.UsageError as error:
        raise FailedPlanError(error.format_message(), "see harpoonctl plan --help") from error
    except OSError as error:
        raise FailedPlanError(f"can't write: {error.strerror or error}") from error


@click.command(cls=PlanCommand)
@click.argument("file")
@output_option
@click.pass_obj
def plan(session: Session, file: str) -> None:
    """Show what `schedule FILE` would do, without doing it.

    Exits with 0 when nothing would change, 1 when something would, 2 when some tasks would find no place,
    255 when there is no plan. Its token lets `schedule FILE --approve` do exactly this or nothing.
    """
    job_file = read_job_file(file)
    key = job_file.key
    path = ["api", "v1", "jobs", key.product, key.environment, key.job, "plan"]
    try:
        answer = session.client.change("POST", *path, body=job_file.json())
    except RefusedError as error:
        raise RefusedError(error.status, *(f"{job_file.name}: {line}" for line in error.lines)) from error
    made = answer.read_as(Plan)
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(plan_page(made))
        if made.result != "unchanged":
            session.line(f"do exactly this: harpoonctl schedule {file} --approve {made.token}")
    raise SystemExit(_exit_code(made))


def _exit_code(made: Plan) -> int:
    if made.result == "unchanged":
        return NOTHING
    return NO_PLACE if made.waiting else SOMETHING
