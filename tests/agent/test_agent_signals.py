"""Signals to a task: to its program alone, by names, while it runs."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import pytest
from agent_harness import Agent, Reply, config, running_agent, shell


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        yield agent


def send(agent: Agent, name: str, body: Any) -> Reply:
    return agent.call("POST", f"/containers/{name}/signal", body, base="/api/v1")


LISTENS = """
trap 'echo parent reloads' HUP
sh -c "trap 'echo child reloads' HUP; echo child ready; while :; do sleep 0.01; done" &
while :; do sleep 0.01; done
"""


@pytest.mark.parametrize("name", ["HUP", "SIGHUP"])
def test_it_reaches_the_program_alone_and_the_task_runs_on(agent: Agent, name: str) -> None:
    task = f"reload-{name}"
    agent.run(task, shell(LISTENS))
    agent.wait_for_log(task, "child ready")
    reply = send(agent, task, {"signal": name})
    assert (reply.status, reply.body) == (200, b"sent HUP")
    agent.wait_for_log(task, "parent reloads")
    assert "child reloads" not in agent.log(task)
    assert agent.instance(task)["process_state"]["up"]
    agent.stop(task)


def test_one_that_ends_by_it_ends_as_by_itself(agent: Agent) -> None:
    agent.run("ends-0", shell("echo ready; exec sleep 1000"))
    agent.wait_for_log("ends-0", "ready")
    assert send(agent, "ends-0", {"signal": "USR1"}).status == 200
    state = agent.wait_for("ends-0", "finished")["process_state"]
    assert state["container_exit_status"] == {"signaled": True, "signal": 10}
    reply = send(agent, "ends-0", {"signal": "HUP"})
    assert (reply.status, reply.body) == (409, b"not running (yet)\n")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"signal": "NOPE"}, "signal is 'NOPE'; it must be one of HUP, "),
        ({"signal": "SEGV"}, "it must be one of HUP, "),
        ({"signal": 1}, "not a signal like"),
        ({"signal": "HUP", "to": "all"}, "not a signal like"),
        (b"", "not a signal like"),
        (b"[" * 5000, "not a signal like"),
    ],
)
def test_what_is_no_signal_is_refused(agent: Agent, body: Any, told: str) -> None:
    agent.run("refuses-0", shell("sleep 1000"))
    reply = send(agent, "refuses-0", body)
    assert (reply.status, told in reply.body.decode()) == (400, True), reply.body
    assert agent.instance("refuses-0")["process_state"]["up"]
    agent.stop("refuses-0")
    agent.wait_for("refuses-0", "finished")
    agent.call("DELETE", "/containers/refuses-0")


def test_one_that_is_called_batch_is_reached_though_batches_have_that_path(agent: Agent) -> None:
    agent.run("batch", shell("echo ready; exec sleep 1000"))
    agent.wait_for_log("batch", "ready")
    assert send(agent, "batch", {"signal": "USR1"}).status == 200
    agent.wait_for("batch", "finished")
    assert agent.call("DELETE", "/containers/batch").status == 200


def test_nobody_of_that_name_and_no_web_pages(agent: Agent) -> None:
    assert send(agent, "nobody-0", {"signal": "HUP"}).status == 404
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
    connection.request("POST", "/api/v1/containers/x-0/signal", b"{}", {"Origin": "http://evil.example"})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_signal_right_after_the_start_arrives_or_is_refused_but_is_not_lost(agent: Agent) -> None:
    sent = []
    for number in range(20):
        agent.run(f"early-{number}", config())
        reply = send(agent, f"early-{number}", {"signal": "USR1"})
        assert reply.status in (200, 409)
        sent.append(reply.status == 200)
    for number in range(20):
        if not sent[number]:
            agent.stop(f"early-{number}")
        state = agent.wait_for(f"early-{number}", "finished")["process_state"]
        assert state["container_exit_status"] == {"signaled": True, "signal": 10 if sent[number] else 15}
