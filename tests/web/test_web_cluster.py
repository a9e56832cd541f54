"""The seam: what a worker holds, who hears of changes, and what the in-memory cluster promises."""

from __future__ import annotations

import asyncio

import pytest
from web_cases import MIN_HASH, cluster_with, config, running_cluster

from scheduling.container import Metrics
from scheduling.jobs import DeleteJob, ScheduleJob
from scheduling.waiting import Waiting
from web import limits
from web.cluster import ClusterState, OutcomeUnknownError, Stamp, TooManyWaitersError, UnavailableError
from web.memory import InMemoryCluster
from web.touched import Touched

TASK = f"{MIN_HASH}-0"


def test_waits_end_when_the_version_is_there() -> None:
    async def story() -> None:
        state = ClusterState()
        state.apply("desired", {}, "e", 3)
        assert await state.reached(3, 0)
        assert await state.newer_than(2, 0)
        early = asyncio.create_task(state.reached(5, 60))
        late = asyncio.create_task(state.newer_than(5, 60))
        await asyncio.sleep(0)
        state.apply("actual", {}, "e", 99)
        await asyncio.sleep(0)
        assert not early.done()
        state.apply("desired", {}, "e", 5)
        assert await asyncio.wait_for(early, 5)
        assert not late.done()
        state.apply("desired", {}, "other", 6)
        assert await asyncio.wait_for(late, 5)
        assert not await state.reached(7, 0.001)

    asyncio.run(story())


def test_waits_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_WAITERS", 2)

    async def story() -> None:
        state = ClusterState()
        waits = [asyncio.create_task(state.newer_than(0, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyWaitersError):
            await state.newer_than(0, 60)
        assert not await state.reached(1, 0.001), "a change that was made is not refused for that"
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert not await state.newer_than(0, 0.001)
        assert state.reads_waiting == 0

    asyncio.run(story())


def test_listeners_hear_what_a_change_touches_until_they_leave() -> None:
    cluster = running_cluster()
    heard: list[Touched] = []
    leave = cluster.state.listen(heard.append)
    cluster.run(TASK, "n1", "finished")
    key = config().key
    assert heard[-1] == Touched(topics={"actual"}, jobs={key}, tasks={TASK}, agents={"n1"}, hosts={"n1"})
    cluster.report_metrics("n1", {TASK: Metrics(cpu_time=1)})
    assert heard[-1] == Touched(topics={"actual"}, hosts={"n1"})
    cluster.report_waiting(Waiting(prefix=MIN_HASH, tasks=1, reason="no room"))
    assert heard[-1] == Touched(topics={"waiting"}, jobs={key})
    cluster.connect("n1")
    assert heard[-1].tasks == set()
    cluster.judge(DeleteJob(key=key))
    assert heard[-1] == Touched(topics={"desired"}, jobs={key}, tasks={TASK})
    leave()
    leave()
    number = len(heard)
    cluster.run(TASK, "n1")
    assert len(heard) == number


def test_a_state_knows_since_when_it_is_cut_off() -> None:
    state = ClusterState()
    assert not state.complete
    state.set_connected(False, 5.0)
    state.set_connected(False, 6.0)
    assert (state.connected, state.stale_since) == (False, 5.0)
    state.set_connected(True, 7.0)
    assert (state.connected, state.stale_since) == (True, None)
    state.apply("desired", {}, "d", 4)
    state.apply("actual", {}, "a", 9)
    assert state.complete
    assert (state.stamps["desired"], str(state.stamps["actual"])) == (Stamp("d", 4), "a.9")


def test_tables_forget_what_is_gone() -> None:
    cluster = running_cluster()
    cluster.report_waiting(Waiting(prefix=MIN_HASH, tasks=1, reason="no room"))
    cluster.report_waiting(None, MIN_HASH)
    cluster.judge(DeleteJob(key=config().key))
    cluster.write_copies(TASK)
    cluster.remove_container("n1", TASK)
    assert cluster.state.waiting == {}
    assert cluster.state.tasks_of[MIN_HASH] == set()


def test_the_in_memory_cluster_remembers_request_ids() -> None:
    cluster = cluster_with("n1")
    first = cluster.judge(ScheduleJob(config=config()), "a")
    assert cluster.judge(ScheduleJob(config=config()), "a") == first
    assert cluster.judge(ScheduleJob(config=config()), "b").result == "conflict"
    assert cluster.judge(ScheduleJob(config=config())).result == "conflict"
    assert first.version == cluster.state.version == 2


def test_the_in_memory_cluster_forgets_the_oldest_request_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_IDS_KEPT", 1)
    cluster = InMemoryCluster()
    cluster.judge(ScheduleJob(config=config()), "a")
    cluster.judge(ScheduleJob(config=config(job="other")), "b")
    assert cluster.judge(ScheduleJob(config=config()), "a").result == "conflict"


def test_the_in_memory_cluster_fails_on_demand() -> None:
    async def story() -> None:
        cluster = InMemoryCluster()
        cluster.available = False
        with pytest.raises(UnavailableError):
            await cluster.submit(ScheduleJob(config=config()), "a")
        assert cluster.state.version == 0
        cluster.available, cluster.answering = True, False
        with pytest.raises(OutcomeUnknownError):
            await cluster.submit(ScheduleJob(config=config()), "a")
        assert cluster.state.version == 1
        cluster.answering = True
        assert (await cluster.submit(ScheduleJob(config=config()), "a")).result == "created"

    asyncio.run(story())
