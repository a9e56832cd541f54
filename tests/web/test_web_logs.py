"""Logs, handed on from an agent: a real small HTTP server on a port that the kernel chose."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from falcon.testing import ASGIConductor, Result
from web_cases import MIN_HASH, client_of, config

from scheduling.jobs import ScheduleJob
from scheduling.registry import AgentSpec
from web import limits
from web.app import create_app
from web.memory import InMemoryCluster
from web.streams import KEEP_ALIVE

TASK = f"{MIN_HASH}-0"
URL = f"/api/v1/tasks/{TASK}/log"


class FakeAgent:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b'["one","two"]'
        self.asked: list[tuple[str, str | None]] = []
        self.task_has_ended = False
        self.stream: list[bytes] = []
        self.client_left = threading.Event()
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                agent.asked.append((self.path, self.headers["Accept"]))
                self.send_response(agent.status)
                if not agent.stream:
                    self.send_header("Content-Length", str(len(agent.body)))
                self.end_headers()
                if not agent.stream:
                    self.wfile.write(agent.body)
                    return
                for piece in agent.stream:
                    self.wfile.write(piece)
                    self.wfile.flush()
                # The task goes on and writes nothing more: all that can come is the end of the client.
                if not agent.task_has_ended and not self.rfile.read(1):
                    agent.client_left.set()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        """End the server and everything it serves."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def quick_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """The framework notices that a client has left when it next sends something."""
    monkeypatch.setattr(limits, "KEEP_ALIVE_SECONDS", 0.02)


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    yield fake
    fake.close()


def cluster_on(endpoint: str) -> InMemoryCluster:
    """The example's task, placed on an agent at this address."""
    cluster = InMemoryCluster()
    cluster.add_agents(AgentSpec(name="n1", endpoint=endpoint))
    cluster.judge(ScheduleJob(config=config()))
    cluster.place(TASK, "n1")
    return cluster


def get(endpoint: str, **params: str) -> Result:
    """The log of the example's task."""
    return client_of(cluster_on(endpoint)).simulate_get(URL, params=params)


def test_the_last_lines_are_a_json_array(agent: FakeAgent) -> None:
    reply = get(agent.endpoint)
    assert (reply.status_code, reply.json) == (200, ["one", "two"])
    assert reply.headers["content-type"] == "application/json"
    assert get(agent.endpoint, history="25", follow="false").status_code == 200
    assert agent.asked == [
        (f"/api/v0/containers/{TASK}/log?history=10", "application/json"),
        (f"/api/v0/containers/{TASK}/log?history=25", "application/json"),
    ]


@pytest.mark.parametrize(
    ("status", "body", "expected", "says"),
    [
        (404, b"not found\n", 404, "there is no log"),
        (500, b"broken", 502, "status 500 instead of 200"),
        (302, b"", 502, "status 302 instead of 200"),
        (200, b"<html>", 502, "no JSON array of lines"),
        (200, b'["\xff"]', 502, "no JSON array of lines"),
        (200, b'{"a":1}', 502, "no JSON array of lines"),
        (200, b"[1]", 502, "no JSON array of lines"),
    ],
)
def test_an_agent_that_answers_otherwise(
    agent: FakeAgent, status: int, body: bytes, expected: int, says: str
) -> None:
    agent.status, agent.body = status, body
    reply = get(agent.endpoint)
    assert reply.status_code == expected
    assert says in reply.json["detail"]
    assert agent.endpoint in reply.json["detail"]


def test_an_agent_that_is_not_there() -> None:
    fake = FakeAgent()
    fake.close()
    reply = get(fake.endpoint)
    assert reply.status_code == 502
    assert f"the log of {TASK} at {fake.endpoint} can't be read" in reply.json["detail"]


def test_an_agent_that_does_not_answer(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOG_READ_SECONDS", 0.05)
    agent.stream = [b"["]
    assert get(agent.endpoint).status_code == 504


def test_a_log_that_is_too_large(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LARGEST_LOG_BYTES", 10)
    reply = get(agent.endpoint)
    assert (reply.status_code, "ask for fewer lines" in reply.json["detail"]) == (502, True)


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"history": "-1"}, "history is '-1'"),
        ({"history": "many"}, "from 0 to 10000"),
        ({"history": "10001"}, "from 0 to 10000"),
        ({"follow": "yes"}, "it must be true or false"),
    ],
)
def test_wrong_parameters(params: dict[str, str], says: str) -> None:
    reply = get("http://127.0.0.1:9", **params)
    assert reply.status_code == 400
    assert says in reply.json["detail"]


def test_tasks_without_an_agent_have_no_log() -> None:
    cluster = InMemoryCluster()
    cluster.judge(ScheduleJob(config=config()))
    client = client_of(cluster)
    waiting = client.simulate_get(URL)
    assert (waiting.status_code, "it is waiting" in waiting.json["detail"]) == (404, True)
    assert client.simulate_get("/api/v1/tasks/nothing-0/log").status_code == 404


@pytest.mark.parametrize(
    "pieces",
    [
        [b'data: ["a","b"]\n\n', b'data: ["c"]\n\n'],
        [b'["a","b"]\n["c', b'"]\n'],
        [b': hello\n\ndata: ["a",', b'"b"]\r\n\r\ndata:["c"]\n\n'],
    ],
)
def test_a_followed_log_is_handed_on_as_events(agent: FakeAgent, pieces: list[bytes]) -> None:
    agent.stream = pieces

    async def story() -> None:
        app = create_app(cluster_on(agent.endpoint))
        async with (
            ASGIConductor(app) as client,
            client.simulate_get_stream(URL, params={"follow": "true"}) as reply,
        ):
            assert reply.headers["content-type"] == "text/event-stream"
            seen = b""
            while seen.count(b"\n\n") < 2:
                async with asyncio.timeout(10):
                    seen += (await reply.stream.read()).replace(KEEP_ALIVE.encoded, b"")
            assert seen == b'data: ["a","b"]\n\ndata: ["c"]\n\n'
            metrics = await client.simulate_get("/metrics")
            assert "harpoon_log_followers 1\n" in metrics.text

    asyncio.run(story())
    assert agent.asked[0][1] == "text/event-stream"


def test_a_followed_log_ends_with_the_agent_s_stream(agent: FakeAgent) -> None:
    agent.stream = [b'data: ["last"]\n\n']
    agent.task_has_ended = True

    async def story() -> None:
        async with ASGIConductor(create_app(cluster_on(agent.endpoint))) as client:
            reply = await asyncio.wait_for(client.simulate_get(URL, params={"follow": "true"}), 10)
            assert reply.content == b'data: ["last"]\n\n'

    asyncio.run(story())


def test_the_agent_is_left_when_the_client_leaves(agent: FakeAgent) -> None:
    agent.stream = [b'data: ["a"]\n\n']

    async def story() -> None:
        async with ASGIConductor(create_app(cluster_on(agent.endpoint))) as client:
            async with client.simulate_get_stream(URL, params={"follow": "true"}) as reply:
                await reply.stream.read()
            del reply
            gc.collect()
            assert await asyncio.to_thread(agent.client_left.wait, 10)

    asyncio.run(story())


def test_there_are_only_so_many_followers_and_readers(
    agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_FOLLOWERS", 1)
    agent.stream = [b'data: ["a"]\n\n']

    async def story() -> None:
        async with ASGIConductor(create_app(cluster_on(agent.endpoint))) as client:
            async with client.simulate_get_stream(URL, params={"follow": "true"}) as reply:
                await reply.stream.read()
                refused = await client.simulate_get(URL, params={"follow": "true"})
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            monkeypatch.setattr(limits, "MOST_LOG_READERS", 0)
            refused = await client.simulate_get(URL)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")

    asyncio.run(story())
