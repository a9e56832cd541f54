"""What happens to containers by itself: fetched, started, ended, started again, and remembered.

Everything here runs in the event loop of the one worker, so no two things happen at once; only disk,
network and other slow work is done in threads. `agent.lifecycle` says what may follow what.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from msgspec.structs import replace

from agent import artifact, lifecycle
from agent.artifact_cache import ArtifactCache
from agent.background import Background, in_daemon_thread
from agent.checking import Checking
from agent.container import Container
from agent.driver import Process
from agent.drivers import Drivers
from agent.events import Hub
from agent.lifecycle import ImpossibleError, Input, Refusal, State
from agent.log import Follower
from agent.store import Store
from agent.task import StartError, Task, make_storage, prepare
from config.bounds import MOST_ARTIFACT_HOSTS as _MOST_HOSTS
from config.bounds import MOST_FETCHES as _MOST_FETCHES
from scheduling.container import UNHEALTHY, ExitStatus, Metrics

# From one host at a time; past the most hosts, the rest share the turns of the first.
_TOO_EARLY_SECONDS = 0.01
_LOG = logging.getLogger(__name__)


class Lives:
    """Carries containers through their lives; `on_gone` is told of those that could not be fetched."""

    def __init__(
        self,
        drivers: Drivers,
        store: Store,
        hub: Hub,
        logs: Follower,
        cache: ArtifactCache,
        on_gone: Callable[[Container], None],
    ) -> None:
        self._drivers = drivers
        self._store = store
        self._hub = hub
        self._logs = logs
        self._cache = cache
        self._on_gone = on_gone
        self._background = Background()
        self._fetch_slots: dict[str, asyncio.Semaphore] = {}
        self._unsaved: set[Container] = set()
        self._leaving: dict[str, asyncio.Event] = {}
        self._checking = Checking(self._tell, self._end_unwell)

    def fetch(self, container: Container) -> None:
        """Fetch, unpack and put in place a container's artifact; then it is created, or gone."""
        self._background.start(self._fetch(container))

    def _slot(self, url: str) -> AbstractAsyncContextManager[Any]:
        """A turn to fetch from the host of a URL: one that is slow holds up only what comes from there."""
        if not url:
            return nullcontext()
        host = urlsplit(url).netloc
        if host not in self._fetch_slots and len(self._fetch_slots) >= _MOST_HOSTS:
            host = next(iter(self._fetch_slots))
        return self._fetch_slots.setdefault(host, asyncio.Semaphore(_MOST_FETCHES))

    async def _fetch(self, container: Container) -> None:
        err = ""
        try:
            staging = self._store.staging()
            try:
                async with self._slot(container.config.artifact_url):
                    if not container.cancelled.is_set():
                        await in_daemon_thread(partial(self._fetch_into, container, staging))
                if not container.cancelled.is_set():
                    self._store.place(staging, container.id)
            finally:
                self.discard(staging)
        except (artifact.ArtifactError, StartError, OSError) as error:
            err = str(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for it for ever
            _LOG.exception("fetching the artifact of %s failed unexpectedly", container.id)
            err = f"unexpected: {type(error).__name__}: {error}"
        if container.cancelled.is_set():
            return
        if err:
            _LOG.warning("%s could not be created: %s", container.id, err)
            container.record = replace(container.record, err=err)
            self._on_gone(container)
            self.remove(container, _follow(container, Input.FETCH_FAILED))
            return
        container.record = replace(container.record, unpacked=True)
        state = _follow(container, Input.FETCHED)
        if state is State.RUNNING:
            self.begin(container)
        else:
            self.change(container, state=state)

    def _fetch_into(self, container: Container, staging: Path) -> None:
        config = container.config
        url, sha256 = config.artifact_url, config.artifact_sha256
        artifact.fetch(url, staging, container.cancelled, sha256=sha256, cache=self._cache)
        make_storage(config, staging / "root")
        if self._drivers.user is not None:
            self._drivers.user.give(staging / "root")
        if url:
            self._store.settle(staging)

    def begin(self, container: Container) -> None:
        """Start a container's process: its mark is on disk before the task itself begins."""
        container.record = replace(container.record, state=State.RUNNING)
        process: Process | None = None
        try:
            process = self._drivers.of(container.config).start(_task(container))
            container.record = replace(
                container.record, process=process.mark, err="", exit=ExitStatus(), started_at=time.time()
            )
            self._store.save(container.id, container.record)
            process.release()
        except (StartError, OSError) as error:
            if process is not None:
                process.kill()
                process.collect()
            _LOG.warning("%s could not be started: %s", container.id, error)
            if isinstance(error, OSError) and error.errno == errno.ENOSPC and container.record.restarts:
                # It ran, and the disk is full: that will pass, and is no mistake of the task.
                self._try_again(container, str(error))
                return
            self.change(container, state=_follow(container, Input.SPAWN_FAILED), err=str(error), process=None)
            return
        container.metrics = Metrics()
        self.attend(container, process)
        self._hub.publish(container.id, container.encode)

    def _try_again(self, container: Container, err: str) -> None:
        delay_seconds = lifecycle.restart_delay(container.record.delay_seconds, 0.0)
        state = _follow(container, Input.CRASHED)
        self.change(container, state=state, process=None, err=err, delay_seconds=delay_seconds)
        self.restart_later(container)

    def attend(self, container: Container, process: Process) -> None:
        """Be there when the container's process ends."""
        container.process = process
        asyncio.get_running_loop().add_reader(process.descriptor, self._ended, container, process)
        if container.state is State.RUNNING:
            self._checking.watch(container)

    def _tell(self, container: Container) -> None:
        """Its health is another one; why it is bad may be in what it wrote."""
        if container.health is not None and container.health.state == UNHEALTHY:
            container.last_lines = self._logs[container.id].ending()
        self._hub.publish(container.id, container.encode)

    def _end_unwell(self, container: Container, problem: str) -> None:
        """End a task that does not pass its liveness check; what follows is up to its restart policy."""
        if container.state is not State.RUNNING or container.process is None or container.unwell:
            return
        self.terminate(container, container.process, container.config.grace.shutdown.seconds)
        container.unwell = f"ended because it was not healthy: {problem}"
        _LOG.warning("%s is %s", container.id, container.unwell)

    def _ended(self, container: Container, process: Process) -> None:
        asyncio.get_running_loop().remove_reader(process.descriptor)
        self._checking.forget(container)
        container.process = None
        container.end_beside()
        container.cancel_timer()
        self.settle(container, process.collect())

    def settle(self, container: Container, exit_status: ExitStatus | None) -> None:
        """Decide what follows the end of a process; None: it never began."""
        if exit_status is None and container.state is State.RUNNING:
            self.begin(container)
            return
        self._background.start(asyncio.to_thread(self._logs[container.id].follow, last=True))
        ended = exit_status or ExitStatus()
        unwell, container.unwell = container.unwell, ""
        failed = ended.signaled or ended.exit_status != 0 or unwell != ""
        wanted = container.state is State.RUNNING  # whoever was told to stop has not failed
        # One that ends well and is started again may be just as ill.
        again = wanted and lifecycle.restart_due(container.config.restart, failed=failed)
        told = again or (failed and wanted)
        container.last_lines = self._logs[container.id].ending() if told else []
        ooms = container.record.ooms + self._drivers.of(container.config).ooms(container.directory)
        ended_as: dict[str, Any] = {"process": None, "exit": ended, "ooms": ooms}
        limit = container.config.restart_limit
        ran_seconds = time.time() - container.record.started_at
        in_a_row = lifecycle.restarts_in_a_row(container.record.restarts_in_a_row, ran_seconds)
        due = wanted and lifecycle.restart_due(container.config.restart, failed=failed)
        if due and not 0 < limit <= in_a_row:
            delay_seconds = lifecycle.restart_delay(container.record.delay_seconds, ran_seconds)
            self.change(
                container,
                state=_follow(container, Input.CRASHED),
                err=unwell,
                delay_seconds=delay_seconds,
                restarts_in_a_row=in_a_row + 1,
                next_start_at=round(time.time() + delay_seconds, 3),
                **ended_as,
            )
            self.restart_later(container)
        else:
            given_up = f"given up after {limit} restarts in a row" if due else ""
            state = _follow(container, Input.ENDED)
            self.change(container, state=state, err=given_up or unwell, delay_seconds=0.0, **ended_as)

    def restart_later(self, container: Container) -> None:
        """Start a container again after its delay, unless it is stopped before."""
        # The next agent goes on with what is left of the delay.
        left_seconds = container.record.next_start_at - time.time()
        delay_seconds = min(max(left_seconds, 0.0), container.record.delay_seconds)
        loop = asyncio.get_running_loop()
        container.timer = loop.call_later(delay_seconds, self._restart, container)

    def _restart(self, container: Container) -> None:
        container.timer = None
        _follow(container, Input.DELAY_OVER)
        container.record = replace(container.record, restarts=container.record.restarts + 1)
        self.begin(container)

    def end(self, container: Container, state: State, grace_seconds: float) -> None:
        """Carry out a stop that leads to `state`: STOPPING if there is a process to end, else FINISHED."""
        first = container.state is not State.STOPPING
        self._checking.forget(container)
        if state is State.FINISHED:
            container.cancelled.set()
            container.cancel_timer()
        # Written first: if the agent dies in between, the next one goes on stopping.
        self.change(container, publish=state is State.FINISHED, state=state)
        if first and container.process is not None:
            self.terminate(container, container.process, grace_seconds)

    def terminate(self, container: Container, process: Process, grace_seconds: float) -> None:
        """TERM now, KILL after the grace."""
        container.cancel_timer()
        container.timer = asyncio.get_running_loop().call_later(grace_seconds, process.kill)
        if not container.unwell:
            # One that is being ended for its health was asked already: many take a second TERM for "at once".
            self._ask_to_end(container, process)

    def _ask_to_end(self, container: Container, process: Process) -> None:
        if container.process is process and not process.terminate():
            loop = asyncio.get_running_loop()
            loop.call_later(_TOO_EARLY_SECONDS, self._ask_to_end, container, process)

    def remove(self, container: Container, state: State) -> None:
        """Delete a container's files, and tell everybody that it is gone. Raises OSError."""
        trash = self._store.remove(container.id)
        self._unsaved.discard(container)
        container.cancelled.set()
        container.record = replace(container.record, state=state)
        self._hub.publish(container.id, container.encode)
        buried = self._leaving[container.id] = asyncio.Event()
        self._background.start(self._leave(container.id, trash, buried))

    async def _leave(self, container_id: str, trash: Path, buried: asyncio.Event) -> None:
        try:
            await asyncio.to_thread(self._store.bury, trash)
        finally:
            buried.set()
            if self._leaving.get(container_id) is buried:
                del self._leaving[container_id]
        await asyncio.to_thread(self._store.discard, trash)

    async def left(self, container_id: str) -> None:
        """Wait until what is to outlive a removed container has been put away."""
        if (buried := self._leaving.get(container_id)) is not None:
            await buried.wait()

    def discard(self, trash: Path) -> None:
        """Delete files without waiting for it."""
        self._background.start(asyncio.to_thread(self._store.discard, trash))

    def change(self, container: Container, *, publish: bool = True, **changes: Any) -> None:
        """Change a container's record, in memory and on disk, and tell everybody."""
        container.record = replace(container.record, **changes)
        try:
            self._store.save(container.id, container.record)
        except OSError as error:
            # Running tasks go on with a full disk; what happened to them is written when that is possible.
            _LOG.warning("cannot write the state of %s, trying again: %s", container.id, error)
            self._unsaved.add(container)
        if publish:
            self._hub.publish(container.id, container.encode)

    async def save_again(self) -> None:
        """Write what could not be written before."""
        unsaved, self._unsaved = self._unsaved, set()
        for container in unsaved:
            self.change(container, publish=False)

    def repeat(self, every_seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work again and again until `close`."""
        self._background.repeat(every_seconds, work)

    def close(self) -> None:
        """Leave everything as it is; tasks live on."""
        self._checking.close()
        self._background.close()


def _follow(container: Container, what: Input) -> State:
    state = lifecycle.step(container.state, what)
    if isinstance(state, Refusal):
        raise ImpossibleError(f"{what} of {container.id} was refused: {state.text}")
    return state


def _task(container: Container) -> Task:
    if not container.record.unpacked:
        raise StartError("its artifact was not fetched, because it was stopped before; create it anew")
    return prepare(container.config, container.directory)
