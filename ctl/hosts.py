"""The commands for the daily care of hosts: agent add, remove, drain, undrain, cordon, uncordon."""

from __future__ import annotations

import time

import click
import msgspec

from ctl.errors import INTERRUPTED, NotInTimeError, UserMistakeError
from ctl.options import DURATION, if_match, if_version_option, output_option, wait_options
from ctl.session import Session
from ctl.shapes import Agent, Agents, Changed
from ctl.text import clean, counted
from scheduling.durations import Duration

_LOOK_SECONDS = 1.0


@click.group()
def agent() -> None:
    """Say something of one agent."""


@agent.command("add")
@click.argument("name")
@click.argument("address", metavar="HOST:PORT")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label; may be repeated.")
@if_version_option
@output_option
@click.pass_obj
def agent_add(
    session: Session, name: str, address: str, labels: tuple[str, ...], if_version: int | None
) -> None:
    """Add the agent NAME at HOST:PORT, or change what is known of it."""
    pairs = [label.partition("=") for label in labels]
    for key, equals, _ in pairs:
        if not equals or not key:
            raise UserMistakeError(f"--label {key!r} is no KEY=VALUE, like zone=eu1")
    _change(
        session,
        "PUT",
        name,
        body={"endpoint": address, "labels": {key: value for key, _, value in pairs}},
        if_version=if_version,
    )


@agent.command("remove")
@click.argument("name")
@if_version_option
@output_option
@click.pass_obj
def agent_remove(session: Session, name: str, if_version: int | None) -> None:
    """Take out the agent NAME, which was added by `agent add`.

    It leaves once it is empty; a lost one leaves at once. Its tasks stay until they are unscheduled: drain it
    first, to move them.
    """
    _change(session, "DELETE", name, if_version=if_version)


@agent.command("drain")
@click.argument("name")
@click.option(
    "--deadline",
    type=DURATION,
    default=None,
    metavar="DURATION",
    help="Move everything by then, even below a job's floor or with no place to go. [none]",
)
@wait_options
@if_version_option
@output_option
@click.pass_obj
def agent_drain(
    session: Session,
    name: str,
    deadline: Duration | None,
    if_version: int | None,
    wait: bool,
    timeout: Duration,
) -> None:
    """Move the tasks of the agent NAME elsewhere, and give it no new ones.

    A few of each job at a time, so that its floor is kept; what fits nowhere else stays until the deadline.
    Refused where a job there has floor = scale and no surge; --deadline 0s moves all at once, all the same.
    It goes on over restarts. With --wait, exit when the agent is empty.
    """
    body: dict[str, object] = {"deadline": str(deadline)} if deadline else {}
    _change(session, "POST", name, "drain", body=body, if_version=if_version)
    if wait:
        _wait_until_empty(session, name, timeout)


@agent.command("undrain")
@click.argument("name")
@if_version_option
@output_option
@click.pass_obj
def agent_undrain(session: Session, name: str, if_version: int | None) -> None:
    """Let the agent NAME have tasks again; what was moved stays where it is."""
    _change(session, "DELETE", name, "drain", if_version=if_version)


@agent.command("cordon")
@click.argument("name")
@if_version_option
@output_option
@click.pass_obj
def agent_cordon(session: Session, name: str, if_version: int | None) -> None:
    """Give the agent NAME no new tasks; those it has stay."""
    _change(session, "POST", name, "cordon", if_version=if_version)


@agent.command("uncordon")
@click.argument("name")
@if_version_option
@output_option
@click.pass_obj
def agent_uncordon(session: Session, name: str, if_version: int | None) -> None:
    """Let the agent NAME have tasks again."""
    _change(session, "DELETE", name, "cordon", if_version=if_version)


def _wait_until_empty(session: Session, name: str, timeout: Duration) -> None:
    deadline = time.monotonic() + timeout.seconds
    shown: tuple[int, dict[str, str]] | None = None
    try:
        while True:
            seen = _agent(session, name)
            left = seen.drain.left if seen.drain is not None else seen.tasks
            if left == 0:
                if not session.as_json:
                    session.line(f"{name} is empty")
                return
            why = seen.drain.why if seen.drain is not None else {}
            if (left, why) != shown:
                session.err.write_line(f"{counted(left, 'task')} left on {name}")
                for line in _staying(why):
                    session.err.write_line(f"  {clean(line)}")
                shown = (left, why)
            if time.monotonic() >= deadline:
                raise NotInTimeError(
                    f"not so after {timeout}: {counted(left, 'task')} left on {name}",
                    *_staying(why),
                    f"`harpoonctl ps` shows them; the drain goes on, `agent undrain {name}` ends it",
                )
            time.sleep(_LOOK_SECONDS)
    except KeyboardInterrupt:
        session.complain(
            f"no longer waiting; the drain goes on, and `harpoonctl agent undrain {name}` ends it"
        )
        raise SystemExit(INTERRUPTED) from None


def _staying(why: dict[str, str]) -> list[str]:
    """Why tasks do not move now, a line each."""
    return [f"{task} stays: {reason}" for task, reason in why.items()]


def _agent(session: Session, name: str) -> Agent:
    known = session.client.get("api", "v1", "agents").read_as(Agents).agents
    found = next((one for one in known if one.name == name), None)
    if found is None:
        raise NotInTimeError(f"{name} was removed meanwhile")
    return found


def _change(
    session: Session,
    method: str,
    *path: str,
    body: dict[str, object] | None = None,
    if_version: int | None,
) -> None:
    content = msgspec.json.encode(body) if body is not None else None
    answer = session.client.change(
        method, "api", "v1", "agents", *path, body=content, headers=if_match(if_version)
    )
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(answer.read_as(Changed).message)
