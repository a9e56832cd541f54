"""What an event stream has told so far: pure bookkeeping, and what each event changed.

A stream begins with a snapshot, and may bring another one at any time (after a gap, or when the
scheduler was restarted). A snapshot replaces everything; what differs from before counts as changed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from ctl.client import decode
from ctl.shapes import Agent, Job, Snapshot, Task
from scheduling.job import task_prefix
from scheduling.sse import Event

Thing = Job | Task | Agent
_KINDS: dict[str, tuple[type[Job] | type[Task] | type[Agent], str]] = {
    "job": (Job, "key"),
    "task": (Task, "id"),
    "agent": (Agent, "name"),
}


class Change(msgspec.Struct, frozen=True):
    """One thing before and after; None is not there. `kind` is job, task or agent."""

    kind: str
    name: str
    before: Thing | None
    after: Thing | None


class World:
    """Jobs, tasks and agents as last heard; `only` keeps just one job and its tasks.

    `prefixes` tell a task of that job by its id where nothing else tells any more whose it is.
    """

    def __init__(self, only: str | None = None, prefixes: Collection[str] = ()) -> None:
        self.jobs: dict[str, Job] = {}
        self.tasks: dict[str, Task] = {}
        self.agents: dict[str, Agent] = {}
        self._only = only
        self._prefixes = prefixes

    def apply(self, event: Event) -> list[Change]:
        """Take an event in. Events of unknown kinds, from a newer scheduler, change nothing.

        Raises UnreachableError for data that no scheduler sends.
        """
        if event.event == "snapshot":
            return self.replace(decode(event.data, Snapshot, "the event stream"))
        if event.event not in _KINDS:
            return []
        shape, identity = _KINDS[event.event]
        raw = decode(event.data, dict[str, Any], "the event stream")
        if raw.get("gone"):
            return self._set(event.event, str(raw.get(identity, "")), None)
        thing = decode(event.data, shape, "the event stream")
        return self._set(event.event, str(getattr(thing, identity)), thing)

    def replace(self, snapshot: Snapshot) -> list[Change]:
        """Become what a snapshot says."""
        changes = []
        for kind, things in (("job", snapshot.jobs), ("task", snapshot.tasks), ("agent", snapshot.agents)):
            identity = _KINDS[kind][1]
            now: dict[str, Thing] = {str(getattr(thing, identity)): thing for thing in things}
            for name in [name for name in self._shelf(kind) if name not in now]:
                changes += self._set(kind, name, None)
            for name, thing in now.items():
                changes += self._set(kind, name, thing)
        return changes

    def _shelf(self, kind: str) -> dict[str, Any]:
        shelves: dict[str, dict[str, Any]] = {"job": self.jobs, "task": self.tasks, "agent": self.agents}
        return shelves[kind]

    def _set(self, kind: str, name: str, after: Thing | None) -> list[Change]:
        if self._only is not None and not self._concerns(kind, name, after):
            return []
        shelf = self._shelf(kind)
        before = shelf.get(name)
        if before == after:
            return []
        if after is None:
            del shelf[name]
        else:
            shelf[name] = after
        return [Change(kind, name, before, after)]

    def _concerns(self, kind: str, name: str, after: Thing | None) -> bool:
        if kind == "job":
            return name == self._only
        if isinstance(after, Task):
            return after.job == self._only or task_prefix(name) in self._prefixes
        return kind == "task" and name in self.tasks
