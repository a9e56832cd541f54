"""The command that evens out how full agents are: a plan, the moves, how far they are, and their end."""

from __future__ import annotations

import time

import click
import msgspec
from rich.console import Group, RenderableType
from rich.text import Text

from ctl.errors import INTERRUPTED, NotInTimeError, UserMistakeError
from ctl.options import DURATION, output_option, wait_options
from ctl.session import Session
from ctl.shapes import Changed
from ctl.tables import cell, table
from scheduling.durations import Duration

_PATH = ("api", "v1", "rebalance")
_LOOK_SECONDS = 1.0


class Move(msgspec.Struct, frozen=True):
    """One task that goes from one agent to another; `state` only once it was asked for."""

    task: str
    source: str = ""
    target: str = ""
    why: str = ""
    state: str = ""


class Load(msgspec.Struct, frozen=True):
    """How full an agent is before and after, 0 to 1."""

    agent: str
    tasks_before: int = 0
    tasks_after: int = 0
    use_before: float = 0.0
    use_after: float = 0.0


class RebalancePlan(msgspec.Struct, frozen=True):
    """POST /api/v1/rebalance/plan."""

    message: str = ""
    token: str = ""
    moves: list[Move] = []
    agents: list[Load] = []
    left_out: list[str] = []


class Rebalance(msgspec.Struct, frozen=True):
    """GET /api/v1/rebalance."""

    state: str = ""
    message: str = ""
    moved: int = 0
    left: int = 0
    moves: list[Move] = []


@click.command()
@click.option("--plan", is_flag=True, help="Show what would be moved and why; move nothing.")
@click.option("--approve", metavar="TOKEN", help="Do exactly what the plan with this token says, or nothing.")
@click.option("--status", is_flag=True, help="Show how far it is, or how the last one ended.")
@click.option("--cancel", is_flag=True, help="Move nothing more; what is on its way arrives.")
@click.option(
    "--deadline",
    type=DURATION,
    default=None,
    metavar="DURATION",
    help="What has not begun to move by then stays. [30m]",
)
@wait_options
@output_option
@click.pass_obj
def rebalance(
    session: Session,
    plan: bool,
    approve: str | None,
    status: bool,
    cancel: bool,
    deadline: Duration | None,
    wait: bool,
    timeout: Duration,
) -> None:
    """Move tasks from fuller agents to emptier ones; only when asked, and a few of each job at a time.

    What a job demands of its agents holds, and its floor is kept. With --plan it exits with 0 when nothing
    would be moved, and with 1 when something would.
    """
    if plan + status + cancel + (approve is not None) > 1:
        raise UserMistakeError("--plan, --approve, --status and --cancel exclude each other")
    if plan:
        _plan(session)
    elif status:
        answer = session.client.get(*_PATH)
        if session.as_json:
            session.json(answer.json())
        else:
            session.show(_page(answer.read_as(Rebalance)))
    elif cancel:
        _say(session, session.client.change("DELETE", *_PATH).json())
    else:
        body = msgspec.json.encode({"deadline": str(deadline)}) if deadline is not None else None
        query = {"approve": approve} if approve is not None else {}
        answer = session.client.change("POST", *_PATH, body=body, query=query)
        _say(session, answer.json())
        if wait and answer.read_as(Changed).result == "changed":
            _wait_until_over(session, timeout)


def _plan(session: Session) -> None:
    answer = session.client.change("POST", *_PATH, "plan")
    made = answer.read_as(RebalancePlan)
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(_plan_page(made))
        if made.moves:
            session.line(f"do exactly this: harpoonctl rebalance --approve {made.token}")
    raise SystemExit(1 if made.moves else 0)


def _plan_page(made: RebalancePlan) -> RenderableType:
    parts: list[RenderableType] = [cell(made.message, "bold")]
    if made.moves:
        rows = [[move.task, move.source, move.target, move.why] for move in made.moves]
        parts += [Text(""), table(["TASK", "FROM", "TO", "WHY"], rows)]
        loads = [
            [
                load.agent,
                f"{load.use_before:.0%}",
                f"{load.use_after:.0%}",
                load.tasks_before,
                load.tasks_after,
            ]
            for load in made.agents
        ]
        headers = ["AGENT", "FULL", "THEN", "TASKS", "THEN"]
        parts += [Text(""), table(headers, loads, right=headers[1:]), Text("")]
    parts += [cell(f"left out: {text}") for text in made.left_out]
    return Group(*parts)


def _page(told: Rebalance) -> RenderableType:
    rows = [[move.task, move.source, move.target, move.state] for move in told.moves]
    return Group(cell(told.message, "bold"), table(["TASK", "FROM", "TO", "STATE"], rows))


def _wait_until_over(session: Session, timeout: Duration) -> None:
    """Raises NotInTimeError. What was moved elsewhere, or is not wanted any more, is no failure."""
    deadline = time.monotonic() + timeout.seconds
    shown = ""
    try:
        while True:
            told = session.client.get(*_PATH).read_as(Rebalance)
            if told.state == "over":
                if not session.as_json:
                    session.line(told.message)
                return
            if told.message != shown:
                shown = told.message
                session.err.write_line(shown)
            if time.monotonic() >= deadline:
                raise NotInTimeError(
                    f"not so after {timeout}: {told.message}",
                    "it goes on; `harpoonctl rebalance --status` shows it, `--cancel` ends it",
                )
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        session.complain("no longer waiting; the rebalance goes on, `harpoonctl rebalance --cancel` ends it")
        raise SystemExit(INTERRUPTED) from None


def _say(session: Session, answer: object) -> None:
    if session.as_json:
        session.json(answer)
    elif isinstance(answer, dict):
        session.line(str(answer.get("message", "")))
