"""The containers of this host: what may be asked of them, and finding them again after a restart."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from signal import Signals

from msgspec.structs import replace

from agent import disks, lifecycle, metrics, procfs
from agent.admission import host_resources, lack_of_room
from agent.artifact_cache import ArtifactCache
from agent.background import to_its_end
from agent.container import Container
from agent.driver import Entry, Process
from agent.drivers import Drivers
from agent.events import Hub
from agent.files import most_containers
from agent.gone_logs import GoneLogs
from agent.lifecycle import Input, Refusal, RefusedError, State
from agent.lives import Lives
from agent.log import Follower, TaskLog
from agent.ports import Ports, PortTakenError, listened_on
from agent.settings import Settings
from agent.store import Record, Store, valid_id
from agent.task import StartError, prepare
from config.bounds import EXEC_BEGIN_SECONDS
from scheduling.canonical import go_json
from scheduling.container import Disk
from scheduling.exec_wire import ExecRequest
from scheduling.job import ContainerConfig

# An ephemeral agent must be gone after 5 s, its tasks' graces notwithstanding.
_LAST_GRACE_SECONDS = 1.5
_LAST_WAIT_SECONDS = 2.8
_TOO_EARLY_SECONDS = 0.01
_SAVE_AGAIN_SECONDS = 1.0
_CLEAN_SECONDS = 600.0
_DISKS_SECONDS = 10.0

_LOG = logging.getLogger(__name__)


class Runtime:
    """Runs the containers of one data directory."""

    def __init__(self, settings: Settings, drivers: Drivers) -> None:
        self.settings = settings
        self.hub = Hub(settings.keep_alive_seconds)
        self.logs = Follower(rotate_seconds=settings.log_rotate_seconds)
        self._gone_logs = GoneLogs(settings.data / "logs", settings.log_keep_seconds, settings.log_keep_bytes)
        self._drivers = drivers
        self._store = Store(settings.data, self._gone_logs.bury)
        self._cache = ArtifactCache(
            settings.data / "artifacts", settings.artifact_cache_bytes, settings.artifact_cache_seconds
        )
        self._lives = Lives(drivers, self._store, self.hub, self.logs, self._cache, self._forget)
        self._ports = Ports(is_used=listened_on)
        self._containers: dict[str, Container] = {}
        self._disks: dict[str, Disk] = {}
        self._resources = host_resources(settings, [], drivers)
        self._closing = False

    def find(self, container_id: str) -> Container:
        """A registered container. Raises RefusedError if there is none."""
        container = self._containers.get(container_id)
        if container is None:
            raise RefusedError(lifecycle.NOT_FOUND)
        return container

    def encode_all(self) -> Mapping[str, bytes]:
        """Every registered container, encoded."""
        return {container.id: container.encode() for container in self._containers.values()}

    def encode_resources(self) -> bytes:
        """What the host has and has promised, encoded."""
        return go_json(self._resources)

    async def register(self, container_id: str, config: ContainerConfig) -> None:
        """Make a container; on disk before this returns. Its artifact is fetched afterwards."""
        if container_id in self._containers:
            raise RefusedError(lifecycle.ALREADY_EXISTS)
        if lack := disks.lack_of_disk(self.settings.data, self.settings.disk_reserve_bytes):
            raise RefusedError(Refusal(500, lack))
        if len(self._containers) >= most_containers():
            lack = f"no room: {most_containers()} tasks are here, as many as this agent may open files for"
            raise RefusedError(Refusal(500, lack))
        if lack := self._drivers.lack(config) or lack_of_room(config, self._resources):
            raise RefusedError(Refusal(500, lack))
        try:
            ports = self._ports.claim(container_id, config.ports or {})
        except PortTakenError as error:
            raise RefusedError(Refusal(500, str(error))) from error
        if ports:
            config = replace(config, ports=ports)
        container = Container(container_id, self._store.directory(container_id), config, Record())
        self._remember(container)
        await to_its_end(self._create(container))

    async def _create(self, container: Container) -> None:
        async with container.lock:
            try:
                await asyncio.to_thread(self._store.create, container.id, container.config, container.record)
            except OSError as error:
                self._forget(container)
                container.record = Record(state=State.DELETED)
                raise RefusedError(Refusal(500, f"cannot store the container: {error.strerror}")) from error
            self._lives.fetch(container)

    async def start(self, container_id: str) -> None:
        """Start a container; whether that works shows in its events."""
        container = self.find(container_id)
        async with container.lock:
            state = self._ask(container, Input.START)
            container.record = replace(
                container.record, restarts=0, ooms=0, restarts_in_a_row=0, delay_seconds=0.0
            )
            if state is State.RUNNING:
                self._lives.begin(container)
            else:
                self._lives.change(container, state=state)

    async def stop(self, container_id: str) -> None:
        """Stop a container for good; on disk before this returns, so that it never comes back."""
        container = self.find(container_id)
        async with container.lock:
            state = self._ask(container, Input.STOP)
            self._lives.end(container, state, container.config.grace.shutdown.seconds)
            try:
                await asyncio.to_thread(self._store.make_durable, container_id)
            except OSError as error:
                _LOG.warning("the stop of %s may not survive a power cut: %s", container_id, error)

    async def signal(self, container_id: str, number: Signals) -> None:
        """Send a signal to the program of a container that runs; what follows is up to it, and its policy."""
        container = self.find(container_id)
        async with container.lock:
            if container.process is None or not container.process.send(number):
                raise RefusedError(Refusal(409, "not running (yet)"))

    async def enter(self, container_id: str, wanted: ExecRequest) -> tuple[Entry, Container]:
        """How a command gets to where a container runs. Raises RefusedError if it can't."""
        container = self.find(container_id)
        if not self.settings.exec:
            raise RefusedError(Refusal(403, "exec is switched off on this agent (--no-exec)"))
        try:
            task = prepare(container.config, container.directory)
        except StartError as error:
            raise RefusedError(Refusal(409, str(error))) from error
        env = {"TERM": wanted.term or "xterm"} if wanted.tty else {}
        deadline = time.monotonic() + EXEC_BEGIN_SECONDS
        while container.process is not None and time.monotonic() < deadline:
            if (entry := container.process.enter(task, wanted.command, env=env, tty=wanted.tty)) is not None:
                return entry, container
            await asyncio.sleep(_TOO_EARLY_SECONDS)
        raise RefusedError(Refusal(409, "not running (yet)"))

    async def destroy(self, container_id: str) -> None:
        """Remove a container that does not run, with its files."""
        container = self.find(container_id)
        async with container.lock:
            state = self._ask(container, Input.DESTROY)
            self._forget(container)
            try:
                self._lives.remove(container, state)
            except OSError as error:
                self._remember(container)
                raise RefusedError(Refusal(500, f"cannot remove its files: {error.strerror}")) from error
            try:
                await asyncio.to_thread(self._store.make_removals_durable)
            except OSError as error:
                _LOG.warning("the end of %s may not survive a power cut: %s", container_id, error)

    async def log(self, container_id: str) -> tuple[TaskLog, bool]:
        """The log of a container, and whether more may come: not of one that is gone.

        Raises RefusedError if there is none.
        """
        if container_id in self._containers:
            return self.logs[container_id], True
        await self._lives.left(container_id)
        gone = await asyncio.to_thread(self._gone_logs.find, container_id) if valid_id(container_id) else None
        if gone is None:
            raise RefusedError(lifecycle.NOT_FOUND)
        return gone, False

    async def recover(self) -> None:
        """Find again what an earlier agent left: running tasks, and how the others ended meanwhile."""
        for stored in await asyncio.to_thread(self._store.load):
            if stored.config is None:
                _LOG.error("%s has no readable config; it is left alone", stored.container_id)
                continue
            directory = self._store.directory(stored.container_id)
            self._remember(Container(stored.container_id, directory, stored.config, stored.record))
        alive = self._find_alive()
        ended = [item for item in self._containers.values() if item.id not in alive]
        await asyncio.to_thread(self._sweep, ended, self._drivers.left() - set(alive))
        self.logs.start()
        for container in self._attend_again(alive):
            collected = self._drivers.of(container.config).collect(container.directory)
            self._lives.settle(container, collected)
        self._lives.repeat(_SAVE_AGAIN_SECONDS, self._lives.save_again)
        self._lives.repeat(_SAVE_AGAIN_SECONDS, self._tidy)
        await self._clean()
        await self._look_at_disks()
        self._lives.repeat(_DISKS_SECONDS, self._look_at_disks)
        self._lives.repeat(_CLEAN_SECONDS, self._clean)
        self._lives.repeat(self.settings.metrics_seconds, self._measure)

    def _find_alive(self) -> dict[str, Process]:
        """Container id → its task, for those that still run."""
        alive = {}
        for container in self._containers.values():
            mark, driver = container.record.process, self._drivers.of(container.config)
            if mark is not None and (process := driver.find(mark, container.directory)):
                alive[container.id] = process
        return alive

    def _sweep(self, ended: Iterable[Container], in_groups: Iterable[str]) -> None:
        """End what tasks left behind that ended without an agent, or never began."""
        for driver in {self._drivers.of(container.config) for container in ended}:
            driver.sweep(
                {
                    container.directory: container.record.process
                    for container in ended
                    if container.record.process is not None
                }
            )
        self._drivers.sweep(in_groups)

    async def _tidy(self) -> None:
        self._drivers.tidy()

    def _attend_again(self, alive: Mapping[str, Process]) -> list[Container]:
        """Take up each life where it was left; returns those whose process has ended meanwhile."""
        gone = []
        for container in list(self._containers.values()):
            state = container.state
            if process := alive.get(container.id):
                self._lives.attend(container, process)
                if state is State.STOPPING:
                    self._lives.terminate(container, process, container.config.grace.shutdown.seconds)
            elif state in (State.RUNNING, State.STOPPING):
                gone.append(container)
            elif state in (State.FETCHING, State.WAITING):
                self._lives.fetch(container)
            elif state is State.RESTARTING:
                self._lives.restart_later(container)
        return gone

    async def close(self) -> None:
        """Stop following; an ephemeral agent ends its tasks first. Others live on without an agent."""
        if self._closing:
            return
        self._closing = True
        for container in self._containers.values():
            container.end_beside()
        if self.settings.ephemeral:
            await self._end_all()
            await asyncio.to_thread(self._drivers.sweep, self._drivers.left())
        self.hub.close()
        self._lives.close()
        await asyncio.to_thread(self.logs.stop)

    async def _end_all(self) -> None:
        for container in self._containers.values():
            container.cancelled.set()
            state = lifecycle.step(container.state, Input.STOP)
            if isinstance(state, State):
                grace_seconds = min(container.config.grace.shutdown.seconds, _LAST_GRACE_SECONDS)
                self._lives.end(container, state, grace_seconds)
        deadline = time.monotonic() + _LAST_WAIT_SECONDS
        while any(container.process for container in self._containers.values()):
            if time.monotonic() > deadline:
                _LOG.error("some tasks did not end in time")
                return
            await asyncio.sleep(0.02)

    async def _clean(self) -> None:
        await asyncio.to_thread(self._cache.clean)
        await asyncio.to_thread(self._gone_logs.clean)

    async def _look_at_disks(self) -> None:
        self._disks = await asyncio.to_thread(disks.usage, self.settings)
        self._resources = replace(self._resources, disks=self._disks)

    async def _measure(self) -> None:
        shims = {
            container.id: container.process.mark.pid
            for container in self._containers.values()
            if container.process is not None
        }
        if not shims:
            return
        samples = await asyncio.to_thread(lambda: metrics.sample(shims, procfs.all_stats()))
        for container_id, sample in samples.items():
            container = self._containers.get(container_id)
            if container is not None and container.process is not None:
                container.metrics = sample
                self.hub.publish(container_id, container.encode)

    def _ask(self, container: Container, what: Input) -> State:
        state = lifecycle.step(container.state, what)
        if isinstance(state, Refusal):
            raise RefusedError(state)
        return state

    def _remember(self, container: Container) -> None:
        self._containers[container.id] = container
        self._ports.adopt(container.id, container.config.ports or {})
        self.logs.add(container.id, container.directory)
        self._count()

    def _forget(self, container: Container) -> None:
        del self._containers[container.id]
        self._ports.release(container.id)
        self.logs.remove(container.id)
        self._count()

    def _count(self) -> None:
        configs = [container.config for container in self._containers.values()]
        resources = host_resources(self.settings, configs, self._drivers)
        self._resources = replace(resources, disks=self._disks)


def end_leftovers(store: Store, drivers: Drivers) -> None:
    """Remove all containers on disk, and end their tasks if any still run."""
    for stored in store.load():
        directory = store.directory(stored.container_id)
        mark, driver = stored.record.process, drivers.of(stored.config or ContainerConfig())
        if mark is not None and (process := driver.find(mark, directory)) is not None:
            process.kill()
            process.collect()
        store.discard(store.remove(stored.container_id))
    drivers.sweep(drivers.left())
