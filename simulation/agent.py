"""A simulated agent: the semantics of the v0 agent API, without a process behind its tasks.

PUT registers at once and fetches; START, STOP and DELETE are accepted first and happen later; every
change is an event for all streams. `status_while_fetching` differs between generations of agents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec

from scheduling.container import (
    CREATED,
    DELETED,
    FAILED,
    FINISHED,
    RUNNING,
    Amount,
    ContainerInstance,
    Cores,
    ExitStatus,
    HostResources,
    Metrics,
    ProcessState,
    StateEvent,
)
from scheduling.job import CONTAINER_CONFIG_DECODER, ContainerConfig
from scheduling.lifecycle import Input
from simulation.clock import Clock

Reply = tuple[int, str]


class Container(msgspec.Struct, kw_only=True):
    """One container at an agent. `ours`: we have made it.

    `revived`: it is back from an old disk, after it was gone; `orphan`: and was not meant to run any more.
    """

    task: str
    config: ContainerConfig
    status: str = ""
    fetching: bool = False
    start_waits: bool = False
    busy: str = ""
    ours: bool = True
    revived: bool = False
    orphan: bool = False
    # When it was made by a request whose sender was dead by then.
    late_at: float | None = None
    # Or so late that its sender had given up waiting for an answer.
    tardy: bool = False
    restarts: int = 0
    exit: ExitStatus = ExitStatus()
    runs: int = 0

    def instance(self, cpu_time: int = 0) -> ContainerInstance:
        """As the wire format shows it."""
        up = self.status == RUNNING
        return ContainerInstance(
            container_id=self.task,
            status=self.status,
            config=self.config,
            process_state=ProcessState(
                up=up,
                restarts=self.restarts,
                container_exit_status=self.exit,
                container_metrics=Metrics(cpu_time=cpu_time) if up else Metrics(),
            ),
        )


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """How a request has come: when it was asked, and whether its sender has died, or waits no longer."""

    asked_at: float
    of_dead: bool = False
    tardy: bool = False


class Agent:
    """One host with its containers. Requests come in through `handle`, events go out to `streams`."""

    def __init__(self, name: str, clock: Clock, rng: Random, mem: int, cpu: float, *, modern: bool) -> None:
        self.name = name
        self.endpoint = f"http://{name}.test:3333"
        self.mem, self.cpu, self.modern = mem, cpu, modern
        self.containers: dict[str, Container] = {}
        self.streams: list[Callable[[StateEvent, bool], None]] = []
        self.up = True
        # Its host is gone for good.
        self.gone = False
        self.hung_until = 0.0
        self.slow_until = 0.0
        # Until then, how it answers requests and its stream: "errors", "did-errors", "contrary", "rubbish", …
        self.moods: dict[str, float] = {}
        self.waiting: list[Callable[[], None]] = []
        self.life = 0
        self.old: dict[str, Container] = {}
        self._clock, self._rng = clock, rng
        # Told of every request that is carried out, before it changes anything.
        self.on_request: Callable[[Agent, Input, str, Journey], None] = lambda *_told: None
        self.is_to_run: Callable[[str, str], bool] = lambda _task, _agent: False
        self.on_change: Callable[[Agent, Container, str], None] = lambda _agent, _container, _what: None

    # --- what the outside sees ---

    def resources(self) -> HostResources:
        """Totals, and what all registered containers reserve."""
        mem = sum(container.config.resources.mem for container in self.containers.values())
        cpu = sum(container.config.resources.cpu for container in self.containers.values())
        return HostResources(
            mem=Amount(total=self.mem, reserved=mem), cpus=Cores(total=self.cpu, reserved=round(cpu, 6))
        )

    def everything(self) -> StateEvent:
        """The first event of a stream."""
        return StateEvent(
            resources=self.resources(),
            containers={task: self._shown(container) for task, container in self.containers.items()},
        )

    def in_mood(self, mood: str) -> bool:
        """Whether it misbehaves in this way now."""
        return self.moods.get(mood, 0.0) > self._clock.now

    @property
    def hung(self) -> bool:
        """Whether it does nothing at all now."""
        return self.hung_until > self._clock.now

    def when_awake(self, act: Callable[[], None]) -> None:
        """Act now, or in order once it is not hung any more; never if it crashes before."""
        if not self.hung:
            act()
            return
        self.waiting.append(act)

    def wake(self) -> None:
        """It has been hung; what came meanwhile is dealt with now."""
        waiting, self.waiting = self.waiting, []
        for act in waiting:
            act()

    # --- requests ---

    def handle(self, step: Input, task: str, body: bytes, journey: Journey) -> Reply:
        """Carry out one request."""
        if self.in_mood("contrary") and self._rng.random() < 0.5:
            return self._rng.choice(((404, "not found"), (409, "already so")))
        if self.in_mood("errors") and self._rng.random() < 0.8:
            return 500, "no luck"
        self.on_request(self, step, task, journey)
        reply = self._carry_out(step, task, body)
        if journey.of_dead and step is Input.PUT and reply[0] == 201:
            self.containers[task].late_at = self._clock.now
        if journey.tardy and step is Input.PUT and reply[0] == 201:
            self.containers[task].tardy = True
        if self.in_mood("did-errors") and self._rng.random() < 0.5:
            return 500, "it is done, but I say no"
        return reply

    def _carry_out(self, step: Input, task: str, body: bytes) -> Reply:
        container = self.containers.get(task)
        if step is Input.PUT:
            return self._put(task, body) if container is None else (409, "already exists")
        if container is None:
            return 404, "not found"
        if step is Input.START:
            return self._start(container)
        if step is Input.STOP:
            if container.status != RUNNING:
                return 409, "already stopped"
            self._later(container, "stopping", self._pause(0.05, 2.0), self._finish)
            return 202, "stop accepted"
        if container.status == RUNNING:
            return 500, "can't destroy container in status running"
        self._later(container, "deleting", self._pause(0.01, 0.5), self.remove)
        return 200, "destroy OK"

    def _put(self, task: str, body: bytes) -> Reply:
        config = CONTAINER_CONFIG_DECODER.decode(body)
        container = Container(task=task, config=config, fetching=True)
        container.status = CREATED if self.modern else ""
        self.containers[task] = container
        self.on_change(self, container, "registered")
        fetch = self._rng.expovariate(1.0 / 0.8)
        if self.slow_until > self._clock.now:
            fetch += self._rng.uniform(5.0, 90.0)
        self._later(container, "", fetch, self._fetched)
        return 201, "created OK"

    def _start(self, container: Container) -> Reply:
        if container.status == RUNNING or container.start_waits or container.busy == "starting":
            return 409, "already running"
        if container.fetching:
            if not self.modern:
                return 500, "not unpacked yet"
            container.start_waits = True
            return 202, "start accepted"
        if container.busy != "deleting":
            self._later(container, "starting", self._pause(0.02, 1.0), self._run)
        return 202, "start accepted"

    def _pause(self, low: float, high: float) -> float:
        slow = self.slow_until > self._clock.now
        return self._rng.uniform(low, high) + (self._rng.uniform(2.0, 20.0) if slow else 0.0)

    def _later(
        self, container: Container, busy: str, seconds: float, act: Callable[[Container], None]
    ) -> None:
        """Do something to a container later, unless it is gone or something newer is being done to it."""
        life, container.busy = self.life, busy

        def due() -> None:
            there = self.containers.get(container.task) is container
            if self.life == life and there and container.busy == busy:
                self.when_awake(lambda: act(container) if self.life == life else None)

        self._clock.after(seconds, due)

    # --- what becomes of containers ---

    def _fetched(self, container: Container) -> None:
        container.fetching = False
        if self._rng.random() < (0.3 if self.in_mood("no-artifacts") else 0.01):
            self.remove(container)
            return
        self._become(container, CREATED)
        if container.start_waits:
            container.start_waits = False
            self._run(container)

    def _run(self, container: Container) -> None:
        container.busy = ""
        if self._rng.random() < (0.3 if self.in_mood("no-starts") else 0.005):
            self._become(container, FAILED)
            return
        container.runs += 1
        self._become(container, RUNNING)

    def _finish(self, container: Container) -> None:
        container.busy = ""
        container.exit = ExitStatus(signaled=True, signal=15)
        self._become(container, FINISHED)

    def remove(self, container: Container) -> None:
        """It is deleted, or its artifact could not be had."""
        if self.containers.get(container.task) is not container:
            return
        del self.containers[container.task]
        container.status, container.busy = DELETED, ""
        self.on_change(self, container, DELETED)
        self._emit([container])

    def exits(self, container: Container) -> None:
        """The task ends by itself; its policy says whether the agent starts it again."""
        if container.status != RUNNING or container.busy:
            return
        container.restarts += 1
        if container.config.restart == "always":
            self._emit([container])
            return
        container.exit = ExitStatus(exited=True, exit_status=1)
        self._become(container, FINISHED)

    def _become(self, container: Container, status: str) -> None:
        container.status = status
        self.on_change(self, container, status)
        self._emit([container])

    def sample(self) -> None:
        """Running containers say how they are doing."""
        running = [container for container in self.containers.values() if container.status == RUNNING]
        if running and self.up and not self.hung:
            self._emit(running)

    def show_all(self) -> None:
        """An event with everything in it, though nothing has changed."""
        if self.up and not self.hung:
            self._emit(self.containers.values())

    def _shown(self, container: Container, sample: int = 0) -> ContainerInstance:
        instance = container.instance(sample)
        strange = self.in_mood("strange") and container.status != DELETED
        return msgspec.structs.replace(instance, status="meditating") if strange else instance

    def _emit(self, containers: Iterable[Container]) -> None:
        sample = int(self._clock.now * 1000)
        changed = {container.task: self._shown(container, sample) for container in containers}
        event = StateEvent(resources=self.resources(), containers=changed)
        for stream in list(self.streams):
            stream(event, False)

    # --- faults ---

    def crash(self, keeps: str) -> None:
        """It dies. `keeps` says what of its containers will be there again: all, rebooted, none, old."""
        self.life += 1
        self.up, self.streams, self.waiting, self.hung_until = False, [], [], 0.0
        before = self.containers
        for container in before.values():
            container.busy, container.start_waits = "", False
        if keeps == "none":
            self.containers = {}
        elif keeps == "old":
            self.containers = {
                task: msgspec.structs.replace(container, **self._came_back(task, before))
                for task, container in self.old.items()
            }
        for container in self.containers.values():
            container.fetching, container.busy, container.start_waits = False, "", False
            container.status = container.status or CREATED
            rebooted = keeps == "rebooted" or (keeps == "old" and self._rng.random() < 0.5)
            if rebooted and container.status == RUNNING and container.config.restart != "always":
                container.status = FINISHED
        for container in before.values():
            if container.task not in self.containers:
                self.on_change(self, container, DELETED)

    def _came_back(self, task: str, before: dict[str, Container]) -> dict[str, Any]:
        there = before.get(task)
        # What a late request has made is another one than that of the old disk.
        if there is not None and there.late_at is None and not there.tardy:
            return {"revived": there.revived, "orphan": there.orphan}
        return {"revived": True, "orphan": not self.is_to_run(task, self.name)}

    def remember(self, *, ended: bool = False) -> None:
        """Take the copy of the disk that a later crash may come back with; `ended`: nothing runs in it."""
        self.old = {task: msgspec.structs.replace(container) for task, container in self.containers.items()}
        for container in self.old.values():
            if ended and container.status == RUNNING:
                container.status = FINISHED
