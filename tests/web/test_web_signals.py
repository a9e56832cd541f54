"""Signals to tasks, passed on to an agent: a real small HTTP server on a port that the kernel chose."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from falcon.testing import Result
from web_cases import MIN_HASH, client_of, config

from scheduling.actual import ContainerReport
from scheduling.jobs import ScheduleJob
from scheduling.lifecycle import Phase
from scheduling.registry import AgentSpec
from web import limits
from web.memory import InMemoryCluster

TASK = f"{MIN_HASH}-0"
URL = f"/api/v1/tasks/{TASK}/signal"


class FakeAgent:
    """Answers as told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.said = 200, b"sent HUP"
        self.asked: list[tuple[str, bytes]] = []
        agent = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                agent.asked.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(agent.status)
                self.end_headers()
                self.wfile.write(agent.said)

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def agent() -> Iterator[FakeAgent]:
    fake = FakeAgent()
    yield fake
    fake.close()


def post(
    endpoint: str, body: str = '{"signal":"HUP"}', phase: Phase = Phase.RUNNING, **headers: str
) -> Result:
    cluster = InMemoryCluster()
    cluster.add_agents(AgentSpec(name="n1", endpoint=endpoint))
    cluster.judge(ScheduleJob(config=config()))
    cluster.place(TASK, "n1")
    cluster.report_container(ContainerReport(agent="n1", task=TASK, phase=phase))
    return client_of(cluster).simulate_post(URL, body=body, headers=headers)


def test_it_is_passed_on_once(agent: FakeAgent) -> None:
    reply = post(agent.endpoint)
    told = {"message": f"sent HUP to {TASK} on n1", "task": TASK, "agent": "n1", "signal": "HUP"}
    assert (reply.status_code, reply.json) == (200, told)
    assert agent.asked == [(f"/api/v1/containers/{TASK}/signal", b'{"signal":"HUP"}')]


@pytest.mark.parametrize(
    ("status", "said", "expected", "told"),
    [
        (400, b"signal is 'X'", 400, "signal is 'X'"),
        (409, b"not running (yet)\n", 409, "not running (yet)"),
        (404, b"not found", 404, "(any more), or can't send signals"),
        (500, b"broken", 502, "answered 500: broken"),
    ],
)
def test_what_the_agent_says_is_told(
    agent: FakeAgent, status: int, said: bytes, expected: int, told: str
) -> None:
    agent.status, agent.said = status, said
    reply = post(agent.endpoint)
    assert (reply.status_code, told in reply.json["detail"]) == (expected, True), reply.json
    assert len(agent.asked) == 1


def test_an_agent_that_is_not_there() -> None:
    fake = FakeAgent()
    fake.close()
    assert post(fake.endpoint).status_code == 502


@pytest.mark.parametrize(
    "body",
    ['{"signal":"hup; rm"}', '{"signal":1}', "{}", '{"signal":"HUP","to":1}', "", "[]", '{"signal":"A\\"}'],
)
def test_what_is_no_signal_reaches_nobody(agent: FakeAgent, body: str) -> None:
    assert post(agent.endpoint, body).status_code == 400
    assert agent.asked == []


def test_only_what_runs_can_be_told(agent: FakeAgent) -> None:
    assert post(agent.endpoint, phase=Phase.ENDED).status_code == 409
    assert client_of(InMemoryCluster()).simulate_post(URL, body='{"signal":"HUP"}').status_code == 404
    assert agent.asked == []


def test_no_web_page_of_others_may(agent: FakeAgent) -> None:
    assert post(agent.endpoint, Origin="http://evil.example").status_code == 403
    assert agent.asked == []


def test_only_so_many_at_a_time(agent: FakeAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.task_signals.ThreadPoolExecutor", lambda *_, **__: None)
    monkeypatch.setattr(limits, "MOST_SIGNALS", 0)
    reply = post(agent.endpoint)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
