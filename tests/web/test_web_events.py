"""`/api/v1/events`: snapshot, resumption, conflation, and what happens to those who do not read."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from falcon.testing import ASGIConductor, StreamedResult
from web_cases import MIN, MIN_HASH, client_of, config, running_cluster

from scheduling.jobs import DeleteJob, ScheduleJob
from web import limits
from web.app import create_app
from web.encoded import Encoded
from web.events import Hub, Watch
from web.memory import InMemoryCluster

TASK = f"{MIN_HASH}-0"
Event = dict[str, Any]


def parsed(encoded: bytes) -> list[Event]:
    """The events of a piece of a stream."""
    events = []
    for block in encoded.decode().split("\n\n")[:-1]:
        event: Event = dict(line.split(": ", 1) for line in block.split("\n"))
        if "data" in event:
            events.append({**event, "data": msgspec.json.decode(event["data"])})
    return events


class Stream:
    """Reads events off a reply, one at a time."""

    def __init__(self, reply: StreamedResult) -> None:
        self._reply = reply
        self._buffered: list[Event] = []
        self._rest = b""

    async def next(self) -> Event:
        """The next event; fails when none comes."""
        while not self._buffered:
            async with asyncio.timeout(10):
                self._rest += await self._reply.stream.read()
            whole, separator, self._rest = self._rest.rpartition(b"\n\n")
            self._buffered = parsed(whole + separator)
        return self._buffered.pop(0)


def over_http(story: Callable[[ASGIConductor, InMemoryCluster], Awaitable[None]]) -> None:
    """Run a story against an app with one running task."""

    async def run() -> None:
        cluster = running_cluster()
        async with ASGIConductor(create_app(cluster)) as client:
            await story(client, cluster)

    with pytest.MonkeyPatch.context() as patch:
        # The framework notices that a client has left when it next sends something.
        patch.setattr(limits, "KEEP_ALIVE_SECONDS", 0.02)
        asyncio.run(run())


def hub_of(cluster: InMemoryCluster) -> Hub:
    """A hub without HTTP around it."""
    return Hub(cluster.state, Encoded(cluster.state))


async def read(watch: Watch) -> list[Event]:
    """What a watcher is sent next."""
    async with asyncio.timeout(10):
        return parsed((await anext(watch)).encoded)


def test_it_begins_with_a_snapshot_and_goes_on_with_changes() -> None:
    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        async with client.simulate_get_stream("/api/v1/events") as reply:
            assert reply.headers["content-type"] == "text/event-stream"
            assert reply.headers["x-harpoon-index"] == str(cluster.state.version)
            stream = Stream(reply)
            first = await stream.next()
            assert first["event"] == "snapshot"
            assert [job["key"] for job in first["data"]["jobs"]] == ["p/e/min"]
            assert [task["status"] for task in first["data"]["tasks"]] == ["running"]
            assert [agent["name"] for agent in first["data"]["agents"]] == ["n1"]
            await client.simulate_put(
                "/api/v1/jobs/p/e/other", json={**msgspec.json.decode(MIN), "job": "other"}
            )
            other = config(job="other").hash()
            names: dict[str, str] = {}
            while len(names) < 2:
                event = await stream.next()
                names[event["event"]] = event["data"].get("key") or event["data"].get("id")
            assert names == {"job": "p/e/other", "task": f"{other}-0"}
            one = (await client.simulate_get(f"/api/v1/tasks/{TASK}")).json
            cluster.run(TASK, "n1", "finished")
            seen: Event = {}
            while seen.get("event") != "task":
                seen = await stream.next()
            assert seen["data"] == {**one, "status": "ended"}

    over_http(story)


def test_it_resumes_after_the_last_event_that_was_read() -> None:
    async def story(client: ASGIConductor, cluster: InMemoryCluster) -> None:
        async with client.simulate_get_stream("/api/v1/events") as reply:
            cursor = (await Stream(reply).next())["id"]
        cluster.judge(DeleteJob(key=config().key))
        async with client.simulate_get_stream("/api/v1/events", headers={"Last-Event-ID": cursor}) as reply:
            stream = Stream(reply)
            events = {event["event"]: event for event in [await stream.next(), await stream.next()]}
            assert events["job"]["data"] == {"key": "p/e/min", "gone": True}
            assert events["task"]["data"]["id"] == TASK
            last = max((event["id"] for event in events.values()), key=lambda each: int(each.split("-")[1]))
        for unknown in ("other-0", cursor.split("-")[0] + "-999", "rubbish", "-", "-1"):
            headers = {"Last-Event-ID": unknown}
            async with client.simulate_get_stream("/api/v1/events", headers=headers) as reply:
                again = await Stream(reply).next()
                assert (again["event"], again["id"]) == ("snapshot", last)
                assert again["data"]["jobs"] == []

    over_http(story)


def test_a_slow_watcher_gets_the_newest_value_once() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        slow, quick = hub.watch(None), hub.watch(None)
        await read(slow), await read(quick)
        for status in ("finished", "running", "created", "finished"):
            cluster.run(TASK, "n1", status)
            hub.flush()
            assert {"job", "task"} <= {event["event"] for event in await read(quick)}
        events = await read(slow)
        assert sorted(event["event"] for event in events) == ["agent", "job", "task"]
        assert [event["data"]["status"] for event in events if event["event"] == "task"] == ["ended"]
        assert not slow.behind

    asyncio.run(story())


def test_what_shows_nothing_new_is_no_event() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        watch = hub.watch(None)
        await read(watch)
        cluster.run(TASK, "n1", "finished")
        hub.flush()
        await read(watch)
        cluster.run(TASK, "n1", "finished")
        cluster.connect("n1")
        hub.flush()
        cluster.connect("n1")
        hub.flush()
        events = await read(watch) if watch.behind else []
        assert [event["event"] for event in events] in ([], ["agent"])
        cluster.connect("n1")
        hub.flush()
        assert not watch.behind

    asyncio.run(story())


def test_all_who_are_at_the_same_place_share_the_bytes() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        watches = [hub.watch(None) for _ in range(5)]
        snapshots = [(await anext(watch)).encoded for watch in watches]
        assert len(set(snapshots)) == 1
        cluster.run(TASK, "n1", "finished")
        hub.flush()
        chunks = [await anext(watch) for watch in watches]
        assert all(chunk is chunks[0] for chunk in chunks)

    asyncio.run(story())


def test_who_is_further_behind_than_the_ring_gets_a_snapshot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "EVENTS_KEPT", 3)

    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        watch = hub.watch(None)
        cursor = (await read(watch))[0]["id"]
        for number in range(5):
            cluster.judge(ScheduleJob(config=config(job=f"j{number}")))
            hub.flush()
        assert [event["event"] for event in await read(watch)] == ["snapshot"]
        assert [event["event"] for event in await read(hub.watch(cursor))] == ["snapshot"]

    asyncio.run(story())


def test_a_value_that_one_reads_before_its_turn_still_reaches_the_others() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        first = hub.watch(None)
        cursor = (await read(first))[0]["id"]
        del first
        cluster.run(TASK, "n1", "finished")
        hub.flush()  # nobody watches: the change is numbered, its value is not made
        newcomer, back = hub.watch(None), hub.watch(cursor)
        await read(newcomer)
        cluster.run(TASK, "n1", "created")
        for watch in (back, newcomer):
            statuses = [event["data"]["status"] for event in await read(watch) if event["event"] == "task"]
            assert statuses == ["created"]

    asyncio.run(story())


def test_what_comes_and_goes_around_a_snapshot_does_not_stay() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        early = hub.watch(None)
        await read(early)
        late = hub.watch(None)
        cluster.run("stranger", "n1")
        hub.flush()
        cluster.remove_container("n1", "stranger")
        hub.flush()
        cluster.run("stranger", "n1")
        snapshot = (await read(late))[0]["data"]
        cluster.remove_container("n1", "stranger")
        hub.flush()
        shown = {task["id"] for task in snapshot["tasks"]}
        for event in await read(late) if late.behind else []:
            if event["event"] == "task" and event["data"].get("gone"):
                shown.discard(event["data"]["id"])
        assert shown == {TASK}

    asyncio.run(story())


def test_watchers_are_woken_without_being_asked() -> None:
    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        watch = hub.watch(None)
        await read(watch)
        waiting = asyncio.create_task(read(watch))
        await asyncio.sleep(0)
        cluster.run(TASK, "n1", "finished")
        assert "task" in [event["event"] for event in await waiting]

    asyncio.run(story())


def test_a_silent_stream_gives_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEP_ALIVE_SECONDS", 0.01)

    async def story() -> None:
        hub = hub_of(running_cluster())
        watch = hub.watch(None)
        await read(watch)
        assert (await anext(watch)).encoded == b": keep-alive\n\n"

    asyncio.run(story())


def test_there_are_only_so_many_watchers_and_places_become_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WATCHERS", 1)

    async def story(client: ASGIConductor, _cluster: InMemoryCluster) -> None:
        async with client.simulate_get_stream("/api/v1/events") as reply:
            await Stream(reply).next()
            refused = await client.simulate_get("/api/v1/events")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "1 watch already" in refused.json["detail"]
            metrics = await client.simulate_get("/metrics")
            assert "harpoon_event_watchers 1\n" in metrics.text
        del reply
        gc.collect()
        async with client.simulate_get_stream("/api/v1/events") as again:
            assert (await Stream(again).next())["event"] == "snapshot"

    over_http(story)


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "STUCK_SECONDS", 0.0)

    async def story() -> None:
        cluster = running_cluster()
        hub = hub_of(cluster)
        watch = hub.watch(None)

        async def client_that_never_reads() -> None:
            async for _ in watch:
                await asyncio.Event().wait()

        stuck = asyncio.create_task(client_that_never_reads())
        await asyncio.sleep(0)
        cluster.run(TASK, "n1", "finished")
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(stuck, 5)

    asyncio.run(story())


def test_streams_end_with_the_worker() -> None:
    async def story() -> None:
        hub = hub_of(running_cluster())
        watch = hub.watch(None)
        await read(watch)
        waiting = asyncio.create_task(anext(watch, None))
        await asyncio.sleep(0)
        hub.close()
        assert await asyncio.wait_for(waiting, 5) is None

    asyncio.run(story())


def test_head_gives_the_headers_only() -> None:
    reply = client_of(running_cluster()).simulate_head("/api/v1/events")
    assert (reply.status_code, reply.headers["content-type"], reply.content) == (
        200,
        "text/event-stream",
        b"",
    )
