"""The seam between HTTP and the cluster: what a web worker holds, and how it changes the desired state.

The resources read `ClusterState` and call `Cluster.submit`; whether actors or memory stand behind it
they do not know. `web.link` is the real implementation, `web.memory` the one that ships for tests.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import msgspec

from scheduling.actual import Actual
from scheduling.answer import Answer
from scheduling.desired import Desired
from scheduling.lost import Brake, is_connected
from scheduling.registry import Mutation
from scheduling.replica import Changes
from scheduling.roster import ActorStatus
from scheduling.waiting import BRAKE_KEY, LEFT_OUT, STAYING, Staying, Waiting
from web import limits
from web.touched import TasksOf, Touched, touched_by

Topic = Literal["desired", "actual", "waiting", "roster"]
Listener = Callable[[Touched], None]


class ClusterError(Exception):
    """The cluster could not do what was asked.

    ClusterError
    ├── UnavailableError      the registry can't be reached; nothing has happened
    ├── OutcomeUnknownError   no answer in time; repeating the same request id is safe
    └── TooManyWaitersError   too many reads wait for a version already
    """


class UnavailableError(ClusterError):
    """The registry can't be reached, so nothing has happened."""


class OutcomeUnknownError(ClusterError):
    """A mutation was sent and no answer came in time; repeating it with the same request id is safe."""


class TooManyWaitersError(ClusterError):
    """As many reads wait for a version as `limits.MOST_WAITERS`."""


class Stamp(msgspec.Struct, frozen=True):
    """Where a replica stands; versions are comparable within an epoch (those of desired always)."""

    epoch: str = ""
    version: int = 0

    def __str__(self) -> str:
        return f"{self.epoch}.{self.version}"


class ClusterState:
    """What a web worker holds. Belongs to one event loop: every method is called in it."""

    def __init__(self) -> None:
        # Changes that wait for the registry, and reads that wait for a version.
        self.writes_waiting = 0
        self.reads_waiting = 0
        self.desired = Desired()
        self.actual = Actual()
        self.waiting: dict[str, Waiting] = {}
        self.left_out: dict[str, Waiting] = {}
        self.staying: dict[str, Staying] = {}
        self.roster: dict[str, ActorStatus] = {}
        self.brake: Brake | None = None
        self.stamps: dict[Topic, Stamp] = {
            "desired": Stamp(),
            "actual": Stamp(),
            "waiting": Stamp(),
            "roster": Stamp(),
        }
        self.tasks_of = TasksOf()
        self.connected = False
        self.stale_since: float | None = None
        self._listeners: dict[int, Listener] = {}
        self._waiters: dict[asyncio.Future[None], int] = {}
        self._numbers = itertools.count()

    @property
    def version(self) -> int:
        """The registry version this worker has seen."""
        return self.stamps["desired"].version

    @property
    def complete(self) -> bool:
        """Whether both states have come at least once."""
        return bool(self.stamps["desired"].epoch and self.stamps["actual"].epoch)

    def apply(self, topic: Topic, changes: Changes, epoch: str, version: int) -> None:
        """Take in what a replica's `receive` returned; then tell the listeners, then wake those who wait."""
        if topic in ("desired", "actual"):
            # What is gone afterwards is only seen before, what is new only afterwards.
            touched = self._touched(changes)
            table = self.desired if topic == "desired" else self.actual
            table.apply(changes)
            touched.add(self._touched(changes))
            self.tasks_of.update(touched.tasks, self.desired, self.actual)
        else:
            touched = self._apply_table(topic, changes)
        touched.topics.add(topic)
        moved = self.stamps[topic] != Stamp(epoch, version)
        self.stamps[topic] = Stamp(epoch, version)
        if changes or moved:
            for listener in list(self._listeners.values()):
                listener(touched)
        if topic == "desired":
            self._wake()

    def set_connected(self, connected: bool, now: float) -> None:
        """Whether the actors can be reached; without them what is held is shown, marked stale since `now`."""
        if connected:
            self.stale_since = None
        elif self.stale_since is None:
            self.stale_since = now
        self.connected = connected

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with what each change touches; returns the function that ends it."""
        number = next(self._numbers)
        self._listeners[number] = listener

        def unsubscribe() -> None:
            self._listeners.pop(number, None)

        return unsubscribe

    async def reached(self, version: int, timeout_seconds: float) -> bool:
        """Wait until the registry version is at least `version`; False when it is not in time."""
        if self.version >= version:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[future] = version
        try:
            async with asyncio.timeout(timeout_seconds):
                await future
        except TimeoutError:
            return self.version >= version
        finally:
            self._waiters.pop(future, None)
        return True

    async def newer_than(self, index: int, timeout_seconds: float) -> bool:
        """Wait until the registry version is above `index`; False when it is not in time.

        For readers: raises TooManyWaitersError when very many wait already. A change that was made must
        not be refused for that; those that wait are bounded by `writing`.
        """
        if self.version <= index and self.reads_waiting >= limits.MOST_WAITERS:
            raise TooManyWaitersError(f"{limits.MOST_WAITERS} requests wait for a version already")
        self.reads_waiting += 1
        try:
            return await self.reached(index + 1, timeout_seconds)
        finally:
            self.reads_waiting -= 1

    @contextmanager
    def writing(self) -> Iterator[None]:
        """For as long as a change waits. Raises UnavailableError when very many do already."""
        if self.writes_waiting >= limits.MOST_WRITES_WAITING:
            raise UnavailableError(f"{limits.MOST_WRITES_WAITING} changes wait for the registry already")
        self.writes_waiting += 1
        try:
            yield
        finally:
            self.writes_waiting -= 1

    def _touched(self, changes: Changes) -> Touched:
        return touched_by(self.desired, self.actual, self.tasks_of, changes)

    def _apply_table(self, topic: Topic, changes: Changes) -> Touched:
        touched = Touched()
        for key, value in changes.items():
            if key == BRAKE_KEY:
                touched.agents |= self._apply_brake(value)
            elif key[0] == STAYING:
                touched.agents.add(key[1])
                _set(self.staying, key[1], value)
            elif topic == "waiting":
                job = self.desired.jobs.get(key[1])
                if job is not None:
                    touched.jobs.add(job.config.key)
                _set(self.left_out if key[0] == LEFT_OUT else self.waiting, key[1], value)
            else:
                _set(self.roster, key[1], value)
        return touched

    def _apply_brake(self, brake: Brake | None) -> set[str]:
        """Take in the brake; returns the agents that look different: until when it holds is shown of them."""
        old, self.brake = self.brake, brake
        if (old and old.until) == (brake and brake.until):
            return set()
        return {name for name in self.desired.agents if not is_connected(self.actual, name)}

    def _wake(self) -> None:
        for future, version in self._waiters.items():
            if version <= self.version and not future.done():
                future.set_result(None)


def _set(table: dict[str, Any], key: str, value: Any) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value


class Cluster(Protocol):
    """A cluster as HTTP sees it."""

    state: ClusterState

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """Have the registry judge a mutation; the answer comes once `state` has reached its version.

        The same `request_id` gets the same answer. Raises UnavailableError when nothing has happened
        and OutcomeUnknownError when no answer came in time.
        """
        ...

    def renew(self, agent: str) -> None:
        """An agent has renewed its registration; Discovery hears of it soon, and nobody waits for that."""
        ...
