"""What an agent promises, against a model: never what it has not, and it keeps nothing that nobody has.

Requests come one by one and several at once, in any order, with artifacts that can't be fetched, a disk that
refuses, and tasks that can't be started.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.cgroup import Cgroups
from agent.driver import Process
from agent.drivers import Drivers
from agent.lifecycle import RefusedError
from agent.ports import Ports
from agent.process import ProcessDriver
from agent.runtime import Runtime
from agent.settings import Settings
from agent.store import ProcessMark, Store
from agent.task import StartError, Task
from scheduling.durations import Duration
from scheduling.job import Command, ContainerConfig, Grace, Resources, Storage

IDS = ("a-0", "a-1", "b-0", "c-0")
VOLUME, MB, CORES, DISK = "/dev", 100, 1.0, 1000


class Unable(ProcessDriver):
    """A driver that starts nothing: what is started has failed at once."""

    def start(self, task: Task) -> Process:
        raise StartError(f"cannot start {task.program}")

    def find(self, mark: ProcessMark, directory: Path) -> Process | None:
        return None

    def sweep(self, gone: Mapping[Path, ProcessMark]) -> None:
        pass


def config_of(want: tuple[int, float, dict[str, int], bool, bool]) -> ContainerConfig:
    mem, cpu, ports, volume, fetched = want
    return ContainerConfig(
        product="p",
        environment="e",
        job="j",
        artifact_url="" if fetched else "file:///no/such/artifact.tar",
        ports=ports,
        command=Command(working_dir="/", exec=["sh"]),
        resources=Resources(mem=mem, cpu=cpu),
        storage=Storage(volumes={"/v": VOLUME if volume else "/not/offered"}),
        grace=Grace(startup=Duration.parse("1s"), shutdown=Duration.parse("1s")),
        restart="no",
    )


WANTS = st.tuples(
    st.sampled_from([0, 10, 40, 101]),
    st.sampled_from([0.1, 0.4, 1.1]),
    st.dictionaries(st.sampled_from("XYZ"), st.sampled_from([0, 0, 29001, 29002]), max_size=3),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([True, True, True, False]),
)
REQUESTS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(IDS), WANTS),
    st.tuples(st.just("put on a full disk"), st.sampled_from(IDS), WANTS),
    st.tuples(st.sampled_from(["start", "stop", "delete", "delete"]), st.sampled_from(IDS), st.none()),
)


class World:
    """A runtime, and what must be so of it after any request."""

    def __init__(self, data: Path) -> None:
        (data / "containers").mkdir()
        told = Settings(
            host="", port=0, data=data, name="n", cpu_cores=CORES, memory_mb=MB, volumes=(VOLUME,)
        )
        self.runtime = Runtime(told, Drivers([Unable()], Cgroups(data), ["process"]))
        self.runtime._ports = Ports(is_free=lambda port: port < 30004)
        self._store: Store = self.runtime._store
        self._full = 0
        self._create = self._store.create
        self._store.create = self._create_or_fail  # type: ignore[assignment,method-assign]

    def _create_or_fail(self, container_id: str, *more: Any) -> None:
        if container_id.startswith("full/"):
            raise OSError(28, "No space left on device")
        self._create(container_id, *more)

    async def ask(self, request: tuple[str, str, Any]) -> None:
        """Do a request; a refusal has a status and a reason, and changes nothing by itself."""
        what, name, want = request
        try:
            match what:
                case "put":
                    await self.runtime.register(name, config_of(want))
                case "put on a full disk":
                    await self.runtime.register(f"full/{name}", config_of(want))
                    pytest.fail("the disk is full")
                case "start":
                    await self.runtime.start(name)
                case "stop":
                    await self.runtime.stop(name)
                case "delete":
                    await self.runtime.destroy(name)
        except RefusedError as error:
            assert 400 <= error.refusal.status < 600
            assert error.refusal.text

    def check(self) -> None:
        """What is promised is what the registered containers have, all of it there, each port once."""
        containers = list(self.runtime._containers.values())
        told = self.runtime._resources
        assert told.mem.reserved == sum(each.config.resources.mem for each in containers) <= MB
        assert told.cpus.reserved == pytest.approx(sum(each.config.resources.cpu for each in containers))
        assert told.cpus.reserved <= CORES
        ports = [port for each in containers for port in (each.config.ports or {}).values()]
        assert len(ports) == len(set(ports)), "a port has one owner"
        assert 0 not in ports
        assert set(self.runtime._ports._owners) == set(ports), "no claim without a container"
        assert all((each.config.storage.volumes or {})["/v"] == VOLUME for each in containers)

    async def quiet(self) -> None:
        """Wait until all that follows by itself has happened."""
        while tasks := set(self.runtime._lives._background._tasks):
            await asyncio.wait(tasks)


@settings(deadline=None, max_examples=120)
@given(st.lists(st.lists(REQUESTS, min_size=1, max_size=4), max_size=12))
def test_a_claim_is_never_leaked_and_never_given_twice(rounds: list[list[Any]]) -> None:
    async def live(data: Path) -> None:
        world = World(data)
        for requests in rounds:
            await asyncio.gather(*map(world.ask, requests))
            world.check()
        await world.quiet()
        world.check()
        kept = {name for name in world.runtime._containers if not name.startswith("full/")}
        assert {path.name for path in (data / "containers").iterdir()} == kept, (
            "nothing is left of the others"
        )
        for name in list(world.runtime._containers):
            await world.ask(("stop", name, None))
            await world.ask(("delete", name, None))
        await world.quiet()
        world.check()
        assert world.runtime._containers == {}
        assert world.runtime._ports._owners == {}
        assert msgspec.structs.asdict(world.runtime._resources.mem) == {"total": MB, "reserved": 0}

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder)))


def test_whoever_asks_and_leaves_at_once_has_asked_all_the_same(tmp_path: Path) -> None:
    async def live() -> None:
        world = World(tmp_path)
        asking = asyncio.create_task(world.ask(("put", "a-0", (1, 0.1, {"A": 0}, True, True))))
        while not world.runtime._containers and not asking.done():
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        async with asyncio.timeout(10):
            while not world.runtime.find("a-0").record.unpacked:
                await asyncio.sleep(0.001)
        await world.quiet()
        world.check()
        assert msgspec.json.decode((tmp_path / "containers/a-0/state").read_bytes())["state"] == "created"

    asyncio.run(live())
