"""The rows of the table of races that web settles: two real workers on one real registry, without actors.

Between a worker's sender and the registry is a line that can be held up; what the registry publishes
reaches a worker's replica when it is let through. Each story must fail without what settles the row.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import ASGIConductor
from web_cases import MIN

from actors.messages import Mutate, Mutated
from actors.registry import Registry
from scheduling.desired import Desired
from scheduling.replica import Changes, Key, Publisher
from simulation.disk import Disk, MemoryStore, store_on
from web import link
from web.app import create_app
from web.cluster import ClusterState
from web.link import ActorCluster
from web.requests_in import INDEX

URL = "/api/v1/jobs/p/e/min"


class Published(Publisher):
    """Remembers what was published, for workers that follow at their own pace."""

    def __init__(self) -> None:
        super().__init__(epoch="x")
        self.log: list[tuple[int, Changes]] = []

    def publish(self, changes: Mapping[Key, Any], version: int | None = None) -> Changes:
        """As the real one."""
        published = super().publish(changes, version)
        self.log.append((self.version, published))
        return published


class Alone(Registry):
    """The registry without Thespian: what it answers goes to who asked."""

    def __init__(self) -> None:
        self.store: Any = store_on(Disk())(Path())
        self.desired = Desired()
        self.publisher: Published = Published()

    def send(self, to: Any, message: Mutated) -> None:
        """Hand the answer over."""
        to.append(message)


class Worker(ActorCluster):
    """A web worker's cluster; `seen` is how much of what the registry published it has been told."""

    def __init__(self, registry: Alone) -> None:
        super().__init__(0)
        self.registry, self.seen = registry, 0
        # Clear: what is sent arrives, and its answer does not come.
        self.answers_come = threading.Event()
        self.answers_come.set()
        self._answers: list[Mutated] = []
        self._registry = "registry"
        self._systemBase = self
        for topic in self.state.stamps:
            self.state.apply(topic, {}, "x", 0)
        self.state.set_connected(True, 0.0)

    # What the link uses of Thespian.

    def _tx_to_actor(self, _address: Any, message: Mutate) -> None:
        self.registry.receiveMsg_Mutate(message, self._answers)

    def listen(self, timeout: timedelta) -> Mutated | None:
        """The next answer, or None in time."""
        came = self.answers_come.wait(timeout.total_seconds())
        return self._answers.pop(0) if came and self._answers else None

    # What the threads of the link do.

    def catch_up(self) -> None:
        """Tell this worker's replica what the registry has published."""
        for version, changes in self.registry.publisher.log[self.seen :]:
            self._apply("desired", changes, "x", version)
        self.seen = len(self.registry.publisher.log)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[ASGIConductor]:
        """A client of this worker."""
        self._loop = asyncio.get_running_loop()
        sender = threading.Thread(target=self._send_for_ever, daemon=True)
        sender.start()
        async with ASGIConductor(create_app(self)) as client:
            yield client
        self.stop()
        await asyncio.to_thread(sender.join)

    def _send_for_ever(self) -> None:
        while not self._stop.is_set():
            if not self._exchange(self):
                self._answers.clear()  # it leaves its address behind, and what comes to it


@pytest.fixture
def registry() -> Alone:
    """A registry on a disk in memory."""
    return Alone()


async def _until_it_waits(worker: Worker, asked: asyncio.Task[Any]) -> None:
    """Wait until this worker waits for a version, or has answered all the same."""
    async with asyncio.timeout(10):
        while not worker.state._waiters and not asked.done():
            await asyncio.sleep(0)


def test_a_reader_asks_another_worker_than_the_writer_did(registry: Alone) -> None:
    """Settled by "the reply carries the version, and reads can wait for it (`index`); a write is answered
    only when its own worker's replica has it"."""
    asyncio.run(_written_here_read_there(registry))


@pytest.mark.parametrize("off", ["the write does not wait", "the read does not wait"])
def test_without_waiting_the_reader_would_not_see_it(
    registry: Alone, monkeypatch: pytest.MonkeyPatch, off: str
) -> None:
    async def at_once(self: ClusterState, _version: int, _seconds: float) -> bool:
        return True

    monkeypatch.setattr(ClusterState, "reached" if "write" in off else "newer_than", at_once)
    expected = "answered before" if "write" in off else "it sees what was written"
    with pytest.raises(AssertionError, match=expected):
        asyncio.run(_written_here_read_there(registry))


async def _written_here_read_there(registry: Alone) -> None:
    here, there = Worker(registry), Worker(registry)
    async with here.serving() as writer, there.serving() as reader:
        writing = asyncio.create_task(writer.simulate_put(URL, body=MIN))
        await _until_it_waits(here, writing)
        assert not writing.done(), "answered before its own worker shows it"
        here.catch_up()
        written = await asyncio.wait_for(writing, 10)
        assert written.status_code == 201
        version = int(written.headers[INDEX.lower()])
        assert (await writer.simulate_get(URL)).status_code == 200, "its own worker shows it"
        reading = asyncio.create_task(
            reader.simulate_get(URL, params={"index": str(version - 1), "wait": "30s"})
        )
        await _until_it_waits(there, reading)
        early = reading.done() and (await reading).status_code
        assert not early, f"it sees what was written, not {early}"
        there.catch_up()
        assert (await asyncio.wait_for(reading, 10)).status_code == 200


def test_an_answer_does_not_come_in_time(registry: Alone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settled by "503 with "outcome unknown"; repeating the same request id is safe"."""
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.2)
    asyncio.run(_unanswered(registry))


def test_without_the_request_id_repeating_it_is_not_safe(
    registry: Alone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(MemoryStore, "answer", lambda _self, _request: None)
    with pytest.raises(AssertionError, match="the answer of the first try"):
        asyncio.run(_unanswered(registry))


async def _unanswered(registry: Alone) -> None:
    worker = Worker(registry)
    path, key = "/api/v0/schedule", {"Idempotency-Key": "one and the same"}
    async with worker.serving() as client:
        worker.answers_come.clear()
        lost = await client.simulate_put(path, body=MIN, headers=key)
        assert (lost.status_code, lost.headers["retry-after"]) == (503, "1")
        assert "the outcome is unknown; repeating with the same Idempotency-Key is safe" in lost.text
        assert len(registry.publisher.log) == 1, "it was done"
        worker.answers_come.set()
        worker.catch_up()
        again = await client.simulate_put(path, body=MIN, headers=key)
        assert again.status_code == 202, f"the answer of the first try, not {again.text}"
        assert len(registry.publisher.log) == 1, "it was done once"
