"""What is shown of migrations and of a job's history."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from scheduling.desired import Desired
from scheduling.job import JobKey, task_id
from scheduling.jobs import known_history
from scheduling.migration import Migration, State
from web.cluster import ClusterState
from web.shapes import MigrationView, PastView, SideView, TaskView

TaskLookup = Callable[[str], TaskView | None]


def migration_view(state: ClusterState, row: Migration, task: TaskLookup) -> MigrationView:
    """One migration, with how many tasks of each version run."""
    old = _side(state, row, row.old, row.old_hash, row.old_scale, task)
    new = _side(state, row, row.new, row.new_hash, row.new_scale, task)
    ticking = row.state is State.RUNNING and not row.paused and not _canaries_run(row, new)
    return MigrationView(
        id=row.id,
        job=str(row.key),
        state=row.state.value,
        paused=row.paused,
        awaits_promotion=row.awaits_promotion,
        reason=row.reason,
        message=_message(row, new),
        strategy=row.limits.strategy,
        floor=row.limits.floor,
        ceiling=row.limits.ceiling,
        max_parallel=row.limits.max_parallel,
        min_healthy_seconds=row.limits.min_healthy_seconds,
        old=old,
        new=new,
        begun_at=row.begun_at,
        progress_at=row.progress_at,
        deadline_at=row.progress_at + row.limits.deadline_seconds if ticking else None,
        version=row.generation,
    )


def history_view(desired: Desired, key: JobKey) -> list[PastView]:
    """The versions of a job that are kept, newest first."""
    history = known_history(desired, key)
    return [
        PastView(
            number=past.number,
            hash=past.hash,
            current=past.number == history.current,
            at=past.at,
            reverted=past.reverted,
            config=msgspec.Raw(past.config.described()),
        )
        for past in reversed(history.kept)
    ]


def _side(
    state: ClusterState, row: Migration, prefix: str, name: str, scale: int, task: TaskLookup
) -> SideView:
    wanted = row.wanted(prefix) if not row.over else ()
    if row.over and (job := state.desired.jobs.get(prefix)) is not None:
        wanted = tuple(state.desired.indices(job))
    views = [view for index in wanted if (view := task(task_id(prefix, index))) is not None]
    running = sum(view.status == "running" and not view.stale for view in views)
    return SideView(hash=name, prefix=prefix, scale=scale, wanted=len(wanted), running=running)


def _message(row: Migration, new: SideView) -> str:
    """One sentence for an operator: what it is doing, and what can be done."""
    if row.paused:
        return "paused; resume or abort it"
    if row.state is State.REVERTING:
        leave = (
            "" if row.old_hash == row.new_hash else f"; unscheduling {row.old_hash} keeps the new one instead"
        )
        return f"going back to {row.old_hash}: {row.reason}{leave}"
    if row.state is State.FAILED:
        return f"{row.reason}; resume or abort it"
    if row.state is State.REVERTED:
        return f"back at {row.old_hash}: {row.reason}"
    if row.state is State.ENDED:
        return row.reason
    if row.state is State.DONE:
        return f"{row.new_hash} runs"
    if _canaries_run(row, new):
        verb = "canary runs" if new.running == 1 else "canaries run"
        how = (
            "it goes on when they have run for long enough"
            if row.limits.auto_promote
            else "promote or abort it"
        )
        return f"{new.running} {verb}; {how}"
    left = "1 old one is" if len(row.old_wanted) == 1 else f"{len(row.old_wanted)} old ones are"
    return f"{new.running} of {row.new_scale} new tasks run, {left} left"


def _canaries_run(row: Migration, new: SideView) -> bool:
    """Whether it waits just to be promoted, as far as is shown: that they run, not for how long."""
    return row.awaits_promotion and len(row.new_wanted) >= row.limits.canary and new.running >= new.wanted
