"""The commands that look: jobs, job, ps, agents, registry, version."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from config.version import version as version_here
from ctl.names import Found, find, unknown
from ctl.options import output_option
from ctl.session import Session
from ctl.shapes import Agents, Job, Jobs, Members, Tasks
from ctl.tables import agents_table, job_page, jobs_table, members_table, registry_table, tasks_table


def all_jobs(session: Session) -> list[Job]:
    """Every job, for finding the one that a name means."""
    return session.client.get("api", "v1", "jobs").read_as(Jobs).jobs


def found_job(session: Session, name: str) -> Found:
    """The job that `name` means. Raises UserMistakeError when there is none, or more than one."""
    found = find(all_jobs(session), name)
    if found is None:
        raise unknown(name)
    return found


@click.command()
@output_option
@click.pass_obj
def jobs(session: Session) -> None:
    """List all jobs."""
    answer = session.client.get("api", "v1", "jobs")
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(jobs_table(answer.read_as(Jobs).jobs))


@click.command()
@click.argument("name", metavar="JOB")
@output_option
@click.pass_obj
def job(session: Session, name: str) -> None:
    """Show one job: its versions, why tasks wait, its tasks."""
    answer = session.client.get("api", "v1", "jobs", *found_job(session, name).job.key.split("/"))
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(job_page(answer.read_as(Job)))


@click.command()
@click.argument("name", metavar="[JOB]", required=False)
@click.option("--agent", metavar="NAME", help="Only tasks on this agent.")
@output_option
@click.pass_obj
def ps(session: Session, name: str | None, agent: str | None) -> None:
    """List tasks, of one job or of all, with the ports they answer on."""
    known = all_jobs(session)
    wanted = name
    if name is not None and (found := find(known, name)):
        wanted = found.version.hash if found.version else found.job.key
    answer = session.client.get("api", "v1", "tasks", query={"job": wanted, "agent": agent})
    if session.as_json:
        session.json(answer.json())
        return
    tasks = answer.read_as(Tasks).tasks
    # A job that is being unscheduled may still have tasks when it is no longer listed.
    if name is not None and not tasks and not find(known, name):
        raise unknown(name)
    session.show(tasks_table(tasks, [version for one in known for version in one.versions]))


@click.command()
@output_option
@click.pass_obj
def agents(session: Session) -> None:
    """List agents and what is taken of what they have."""
    answer = session.client.get("api", "v1", "agents")
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(agents_table(answer.read_as(Agents).agents))


@click.command()
@output_option
@click.pass_obj
def members(session: Session) -> None:
    """List the hosts that agents are followed from: the leader, and those that have joined it."""
    answer = session.client.get("api", "v1", "members")
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(members_table(answer.read_as(Members).members))


@click.command()
@output_option
@click.pass_obj
def registry(session: Session) -> None:
    """Show what is registered: every job config by its hash (with -o json, the old registry file)."""
    answer = session.client.get("api", "v0", "registry")
    if session.as_json:
        session.json(answer.json())
    else:
        session.show(registry_table(answer.read_as(dict[str, Any])))


class _Version(msgspec.Struct, frozen=True):
    version: str = "unknown"


@click.command()
@output_option
@click.pass_obj
def version(session: Session) -> None:
    """Show the version of harpoonctl and of the scheduler."""
    if not session.as_json:
        session.line(f"harpoonctl {version_here()}")
    answer = session.client.get("api", "v1", "version")
    if session.as_json:
        session.json(answer.json())
    else:
        session.line(f"scheduler {answer.read_as(_Version).version} at {session.client.endpoint}")
