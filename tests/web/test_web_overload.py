"""Overload: each bound of web answers 503 with Retry-After when it is reached, and serves when it is over."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from falcon.testing import ASGIConductor, Result
from web_cases import MIN, raw, running_cluster

from web import limits
from web.app import create_app
from web.bodies import read_body
from web.cluster import ClusterState
from web.memory import InMemoryCluster
from web.problems import HttpProblem

JOBS, OTHER = "/api/v1/jobs", "/api/v1/jobs/p/e/other"
BODY = {**raw(job="other")}
Story = Callable[[ASGIConductor, InMemoryCluster], Awaitable[None]]


def over_http(story: Story) -> None:
    """Run a story against an app on a cluster with one job."""

    async def run() -> None:
        cluster = running_cluster()
        async with asyncio.timeout(30), ASGIConductor(create_app(cluster)) as client:
            await story(client, cluster)

    asyncio.run(run())


def is_refused(reply: Result, says: str) -> None:
    """A problem that may be tried again, and says what is full."""
    assert (reply.status_code, reply.headers["retry-after"]) == (503, str(limits.RETRY_SECONDS))
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.json["status"], reply.json["title"]) == (503, "Service Unavailable")
    assert says in reply.json["detail"]


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until it is so; `over_http` has the deadline."""
    while not condition():
        await asyncio.sleep(0)


def test_too_many_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WATCHERS", 2)
    # The framework notices that a client has left when it next sends something.
    monkeypatch.setattr(limits, "KEEP_ALIVE_SECONDS", 0.02)

    async def story(client: ASGIConductor, _cluster: InMemoryCluster) -> None:
        async with contextlib.AsyncExitStack() as held:
            for _ in range(2):
                stream = await held.enter_async_context(client.simulate_get_stream("/api/v1/events"))
                await stream.stream.read()
            is_refused(await client.simulate_get("/api/v1/events"), "2 watch already")
            assert (await client.simulate_get(JOBS)).status_code == 200, "others are served"
        del stream
        gc.collect()
        async with client.simulate_get_stream("/api/v1/events") as again:
            assert again.status_code == 200
            await again.stream.read()

    over_http(story)


def test_too_many_long_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WAITERS", 2)

    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        poll = {"index": str(cluster.state.version), "wait": "30s"}
        held = [asyncio.create_task(client.simulate_get(JOBS, params=poll)) for _ in range(2)]
        await until(lambda: cluster.state.reads_waiting == 2)
        is_refused(await client.simulate_get(JOBS, params=poll), "2 requests wait for a version already")
        assert "harpoon_reads_waiting 2\n" in (await client.simulate_get("/metrics")).text
        put = await client.simulate_put(OTHER, json=BODY)
        assert put.status_code == 201, "a change is not kept out by readers"
        assert [reply.status_code for reply in await asyncio.gather(*held)] == [200, 200]
        poll["index"] = str(cluster.state.version - 1)
        assert (await client.simulate_get(JOBS, params=poll)).status_code == 200
        assert cluster.state.reads_waiting == 0

    over_http(story)


def test_too_many_changes_while_the_registry_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WRITES_WAITING", 2)

    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        cluster.hang()
        held = [
            asyncio.create_task(client.simulate_put(f"{JOBS}/p/e/j{number}", json=raw(job=f"j{number}")))
            for number in range(2)
        ]
        await until(lambda: cluster.state.writes_waiting == 2)
        before = cluster.state.version
        refused = await client.simulate_put(OTHER, json=BODY)
        is_refused(refused, "2 changes wait for the registry already; nothing has changed, try again")
        v0 = await client.simulate_put("/api/v0/schedule", body=MIN)
        assert (v0.status_code, v0.headers["retry-after"]) == (503, "1")
        assert (await client.simulate_get(JOBS)).status_code == 200, "reads go on"
        assert "harpoon_writes_waiting 2\n" in (await client.simulate_get("/metrics")).text
        cluster.resume()
        assert [reply.status_code for reply in await asyncio.gather(*held)] == [201, 201]
        assert cluster.state.version == before + 2, "what was refused has changed nothing"
        assert (await client.simulate_put(OTHER, json=BODY)).status_code == 201

    over_http(story)


def test_a_hung_registry_is_given_up_and_the_repeat_is_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "WRITE_ANSWER_SECONDS", 0.02)

    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        key = {"Idempotency-Key": "once"}
        cluster.hang()
        is_refused(
            await client.simulate_put(OTHER, json=BODY, headers=key),
            "the outcome is unknown; repeating with the same Idempotency-Key is safe",
        )
        assert cluster.state.writes_waiting == 0, "its place is free again"
        cluster.resume()
        assert (await client.simulate_put(OTHER, json=BODY, headers=key)).status_code == 201

    over_http(story)


def test_a_snapshot_to_restore_keeps_out_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        saved = (await client.simulate_get("/api/v1/snapshot")).content
        cluster.hang()
        held = asyncio.create_task(client.simulate_put("/api/v1/snapshot", body=saved))
        await until(lambda: cluster.state.writes_waiting == 1)
        is_refused(await client.simulate_put("/api/v1/snapshot", body=saved), "another snapshot")
        cluster.resume()
        assert (await held).status_code == 200
        assert (await client.simulate_put("/api/v1/snapshot", body=saved)).status_code == 200

    over_http(story)


def test_too_many_bodies_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_BODIES", 1)
    comes = asyncio.Event()

    class Slow:
        """A body that comes when it is told to."""

        async def __aiter__(self) -> AsyncIterator[bytes]:
            await comes.wait()
            yield b"{}"

    async def story(client: ASGIConductor, _cluster: InMemoryCluster) -> None:
        slow: Any = SimpleNamespace(content_length=2, stream=Slow(), get_header=lambda _name: None)
        held = asyncio.create_task(read_body(slow))
        await asyncio.sleep(0)
        is_refused(await client.simulate_put(OTHER, json=BODY), "1 requests are being read already")
        with pytest.raises(HttpProblem):
            await read_body(slow)
        comes.set()
        assert await held == b"{}"
        assert (await client.simulate_put(OTHER, json=BODY)).status_code == 201

    over_http(story)


def test_places_are_given_back_when_the_client_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WAITERS", 1)
    monkeypatch.setattr(limits, "MOST_WRITES_WAITING", 1)

    async def story() -> None:
        state = ClusterState()
        poll = asyncio.create_task(state.newer_than(0, 60))
        await asyncio.sleep(0)
        assert state.reads_waiting == 1
        poll.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await poll
        with pytest.raises(RuntimeError, match="its client has left"), state.writing():
            raise RuntimeError("its client has left")
        assert (state.reads_waiting, state.writes_waiting) == (0, 0)
        with state.writing():
            assert not await state.newer_than(0, 0.001)

    asyncio.run(story())
