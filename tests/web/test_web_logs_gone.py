"""Logs of tasks that are gone: who is asked, who is believed, and how much of that there may be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from falcon.testing import ASGIConductor
from test_web_logs import TASK, URL, FakeAgent
from web_cases import client_of, config

from scheduling.actual import AgentStatus
from scheduling.jobs import ScheduleJob
from scheduling.registry import AgentSpec
from web import limits
from web.app import create_app
from web.memory import InMemoryCluster

OLD = b'["2026-11-22_11:00:00.00000 container[x]:old"]'
NEW = b'["2026-11-23_11:00:00.00000 container[x]:new"]'


@pytest.fixture
def agents() -> Iterator[Callable[..., list[FakeAgent]]]:
    made: list[FakeAgent] = []

    def make(*bodies: bytes | None) -> list[FakeAgent]:
        """An agent for each body; None: it has no log."""
        for body in bodies:
            made.append(FakeAgent())
            made[-1].status, made[-1].body = (200, body) if body is not None else (404, b"not found\n")
        return made

    yield make
    for fake in made:
        with suppress(OSError):
            fake.close()


def cluster_of(fakes: list[FakeAgent], connected: int = 99) -> InMemoryCluster:
    """A cluster where these are n0, n1…, the first of them connected, and no job is."""
    cluster = InMemoryCluster()
    cluster.add_agents(*(AgentSpec(name=f"n{at}", endpoint=fake.endpoint) for at, fake in enumerate(fakes)))
    for number in range(min(connected, len(fakes))):
        cluster.connect(f"n{number}")
    return cluster


def test_the_agent_whose_log_goes_on_the_longest_is_asked_for_it(
    agents: Callable[..., list[FakeAgent]],
) -> None:
    fakes = agents(None, OLD, NEW, b"[]", b"<html>")
    reply = client_of(cluster_of(fakes)).simulate_get(URL, params={"history": "7"})
    assert (reply.status_code, reply.text.encode()) == (200, NEW)
    assert [path.rpartition("=")[2] for path, _ in fakes[2].asked] == ["1", "7"]


def test_an_empty_log_is_a_log_too(agents: Callable[..., list[FakeAgent]]) -> None:
    assert client_of(cluster_of(agents(None, b"[]"))).simulate_get(URL).json == []


def test_a_followed_one_is_handed_on_until_it_ends(agents: Callable[..., list[FakeAgent]]) -> None:
    cluster = cluster_of(agents(None, NEW + b"\n"))

    async def story() -> None:
        async with ASGIConductor(create_app(cluster)) as client:
            reply = await asyncio.wait_for(client.simulate_get(URL, params={"follow": "true"}), 10)
            assert reply.content == b"data: " + NEW + b"\n\n"

    asyncio.run(story())


def test_only_connected_agents_are_asked_and_nobody_for_what_can_be_no_task(
    agents: Callable[..., list[FakeAgent]],
) -> None:
    fakes = agents(None, NEW)
    cluster = cluster_of(fakes, connected=1)
    cluster.report_agent(
        AgentStatus(name="n1", endpoint=fakes[1].endpoint, link="stale", answered=True, since=0.0)
    )
    client = client_of(cluster)
    reply = client.simulate_get(URL)
    assert (reply.status_code, "there is no task" in reply.json["detail"]) == (404, True)
    assert client.simulate_get("/api/v1/tasks/x%20y/log").status_code == 404
    assert (len(fakes[0].asked), len(fakes[1].asked)) == (1, 0)


def test_an_agent_can_be_named(agents: Callable[..., list[FakeAgent]]) -> None:
    fakes = agents(OLD, NEW, None)
    client = client_of(cluster_of(fakes, connected=0))
    assert client.simulate_get(URL, params={"agent": "n0"}).text.encode() == OLD
    refused = client.simulate_get(URL, params={"agent": "nobody"})
    assert (refused.status_code, refused.json["detail"]) == (404, "there is no agent 'nobody'")
    gone = client.simulate_get(URL, params={"agent": "n2"})
    assert (gone.status_code, "there is no log of" in gone.json["detail"]) == (404, True)
    assert len(fakes[1].asked) == 0


def test_where_a_task_is_now_comes_first_and_then_where_it_was(
    agents: Callable[..., list[FakeAgent]],
) -> None:
    fakes = agents(OLD, NEW)
    cluster = cluster_of(fakes)
    cluster.judge(ScheduleJob(config=config()))
    cluster.place(TASK, "n0")
    client = client_of(cluster)
    assert client.simulate_get(URL).text.encode() == OLD
    fakes[0].status = 404
    assert client.simulate_get(URL).text.encode() == NEW
    fakes[1].status = 404
    assert (
        client.simulate_get(URL)
        .json["detail"]
        .startswith(f"there is no log of {TASK} at {fakes[0].endpoint}")
    )


def test_a_task_that_waits_shows_what_it_wrote_before(agents: Callable[..., list[FakeAgent]]) -> None:
    fakes = agents(NEW)
    cluster = cluster_of(fakes)
    cluster.judge(ScheduleJob(config=config()))
    client = client_of(cluster)
    assert client.simulate_get(URL).text.encode() == NEW
    fakes[0].status = 404
    assert "has no log yet: it is waiting" in client.simulate_get(URL).json["detail"]


def test_only_so_many_agents_are_asked(
    agents: Callable[..., list[FakeAgent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_AGENTS_ASKED", 2)
    fakes = agents(None, None, NEW)
    reply = client_of(cluster_of(fakes)).simulate_get(URL)
    assert reply.status_code == 404
    assert reply.json["detail"].endswith(f"2 agents has a log of {TASK}, of 3; name one with ?agent=")
    assert len(fakes[2].asked) == 0


def test_a_search_ends_with_what_it_has_found_in_its_time(
    agents: Callable[..., list[FakeAgent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LOG_SEARCH_SECONDS", 1.0)
    fakes = agents(NEW, None)
    fakes[1].status, fakes[1].stream = 200, [b"["]  # it never goes on
    assert client_of(cluster_of(fakes)).simulate_get(URL).text.encode() == NEW


def test_there_are_only_so_many_searches(
    agents: Callable[..., list[FakeAgent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_LOG_SEARCHES", 0)
    reply = client_of(cluster_of(agents(NEW))).simulate_get(URL)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
