"""What `--wait` does after a change was accepted: find out what is to be waited for, and wait for it."""

from __future__ import annotations

from ctl.errors import INTERRUPTED, NotInTimeError, RefusedError, UnreachableError
from ctl.feed import Feed
from ctl.goals import AllRunning, Goal, stopped_text
from ctl.goals_migration import MigrationOver
from ctl.progress import display
from ctl.session import Session
from ctl.shapes import Changed, Job, Tasks
from ctl.tables import tasks_table
from ctl.wait import wait_for
from scheduling.durations import Duration

# How long the worker that is asked may need to hear of what another one has answered.
_VISIBLE = "10s"


def wait_goal(session: Session, goal: Goal, timeout: Duration, meanwhile: str = "") -> None:
    """Wait for a goal and show how far it is; `meanwhile` is told to whom Ctrl-C stops waiting."""
    told = meanwhile or f"the request stands, and `harpoonctl job {goal.key}` shows how far it is"
    try:
        with display(session.err, goal.key) as shown, Feed(session.client, goal.key, goal.prefixes) as feed:
            wait_for(goal, feed, shown, timeout)
    except KeyboardInterrupt:
        session.complain(f"no longer waiting; {told}")
        raise SystemExit(INTERRUPTED) from None


def wait_changed(session: Session, key: str, changed: Changed, timeout: Duration) -> None:
    """Wait until the job runs as a change has said: until its migration is done, else until its tasks run.

    Raises NotInTimeError when it does not, with what became of it instead.
    """
    job = _job_at(session, key, changed.version)
    if job is not None and job.stopped:
        raise NotInTimeError(stopped_text(key))
    migration = changed.migration or _under_way(job, changed.hash)
    if migration:
        wait_migration(session, key, migration, timeout)
    else:
        wait_goal(session, AllRunning(key, changed.hash), timeout)
    if not session.as_json:
        tasks = session.client.get("api", "v1", "tasks", query={"job": changed.hash}).read_as(Tasks)
        session.show(tasks_table(tasks.tasks))


def wait_migration(session: Session, key: str, name: str, timeout: Duration, *, back: bool = False) -> None:
    """Wait for the end of a migration, which Ctrl-C leaves under way; `back`: at the old version."""
    abort = "" if back else f", `harpoonctl migration abort {name}` brings the old version back"
    meanwhile = f"{name} goes on; `harpoonctl migration {name}` shows how far it is{abort}"
    wait_goal(session, MigrationOver(key, name, back), timeout, meanwhile)


def _job_at(session: Session, key: str, version: int) -> Job | None:
    """The job as it is since the registry's version; None if it is gone already, or can't be asked for."""
    query = {"index": str(version - 1), "wait": _VISIBLE} if version > 0 else None
    try:
        return session.client.get("api", "v1", "jobs", *key.split("/"), query=query).read_as(Job)
    except (RefusedError, UnreachableError):
        return None  # whoever waits is told by the events, or of the trouble with them


def _under_way(job: Job | None, name: str) -> str:
    """The migration to this version that somebody else has begun, if there is one."""
    told = job.migration if job is not None else None
    return told.id if told is not None and not told.over and told.new.hash == name else ""
