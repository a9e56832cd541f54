"""The v1 shapes as bytes: each job, task and agent is encoded once and kept until a change touches it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import msgspec

from scheduling.job import JobKey, encode_hook
from web import views
from web.cluster import ClusterState
from web.pages import Page
from web.shapes import AgentView, JobView, TaskView
from web.touched import Touched

JSON = "application/json"
ENCODER = msgspec.json.Encoder(enc_hook=encode_hook)

Name = TypeVar("Name", bound=str | JobKey)
View = TypeVar("View", JobView, TaskView, AgentView)


class Shelf(Generic[Name, View]):
    """The views of one kind with their bytes, in order; those that were touched are made anew when asked."""

    def __init__(
        self, kind: str, make: Callable[[Name], View | None], order: Callable[[Name], object]
    ) -> None:
        self._kind = kind
        self._make: Callable[[Name], View | None] = make
        self._order = order
        self._items: dict[Name, tuple[View, bytes]] = {}
        self._touched: set[Name] = set()
        self._sorted: list[Name] | None = None
        self._page: Page | None = None

    def touch(self, names: Iterable[Name]) -> None:
        """These may look different now."""
        self._touched.update(names)

    def view(self, name: Name) -> View | None:
        """One view."""
        item = self._item(name)
        return item[0] if item else None

    def encoded(self, name: Name) -> bytes | None:
        """One view's bytes."""
        item = self._item(name)
        return item[1] if item else None

    def page(self) -> Page:
        """All of them, as the reply to a GET of the list."""
        self._refresh()
        if self._page is None:
            self._page = Page(self.join(self._in_order()), JSON)
        return self._page

    def join(self, names: Iterable[Name]) -> bytes:
        """`{"kind":[…]}` of some of them."""
        items = [body for name in names if (body := self.encoded(name)) is not None]
        return b'{"%s":[%s]}' % (self._kind.encode(), b",".join(items))

    def views(self) -> list[View]:
        """All views, in order."""
        self._refresh()
        return [self._items[name][0] for name in self._in_order()]

    def _in_order(self) -> list[Name]:
        if self._sorted is None:
            self._sorted = sorted(self._items, key=self._order)  # type: ignore[arg-type]
        return self._sorted

    def _item(self, name: Name) -> tuple[View, bytes] | None:
        if name in self._touched:
            self._touched.discard(name)
            self._renew(name)
        return self._items.get(name)

    def _refresh(self) -> None:
        while self._touched:
            self._renew(self._touched.pop())

    def _renew(self, name: Name) -> None:
        old = self._items.get(name)
        view = self._make(name)
        if view is None:
            self._items.pop(name, None)
        else:
            self._items[name] = (view, ENCODER.encode(view))
        new = self._items.get(name)
        if (old is None) != (new is None):
            self._sorted = None
        if (old and old[1]) != (new and new[1]):
            self._page = None


class Encoded:
    """All that v1 shows, as bytes. Listens to the state; made once per worker."""

    def __init__(self, state: ClusterState) -> None:
        self.state = state
        self.tasks: Shelf[str, TaskView] = Shelf(
            "tasks", lambda task: views.task_view(state, task), views.natural
        )
        self.agents: Shelf[str, AgentView] = Shelf(
            "agents", lambda name: views.agent_view(state, name), lambda name: name
        )
        self.jobs: Shelf[JobKey, JobView] = Shelf(
            "jobs", lambda key: views.job_view(state, key, self.tasks.view), lambda key: key
        )
        self.tasks.touch(views.task_ids(state))
        self.agents.touch(views.agent_names(state))
        self.jobs.touch(state.desired.by_key)
        self._unsubscribe = state.listen(self._on_change)

    def close(self) -> None:
        """Listen no longer."""
        self._unsubscribe()

    def job_with_tasks(self, key: JobKey) -> bytes | None:
        """A job as the single GET shows it: with its tasks."""
        body = self.jobs.encoded(key)
        if body is None:
            return None
        names = [
            task
            for version in self.state.desired.versions(key)
            for task in views.version_tasks(self.state, version)
        ]
        # The object that holds the list already begins with the brace that is not needed here.
        return body[:-1] + b"," + self.tasks.join(names)[1:]

    def _on_change(self, touched: Touched) -> None:
        self.tasks.touch(touched.tasks)
        self.jobs.touch(touched.jobs)
        self.agents.touch(touched.agents)
