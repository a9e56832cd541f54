"""Health checks of real tasks under a real agent: told, gone by, and acted on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, running_agent, shell, wait_until

# Answers 200 while there is a file `well`, else 503; python is where the tests run.
SERVER = """
import http.server, os, signal, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        open("hits", "a").write("x")
        self.send_response(200 if os.path.exists("well") else 503)
        self.end_headers()
    def log_message(self, *args):
        pass
signal.signal(signal.SIGTERM, lambda *_: (print("asked to end", flush=True), os._exit(0)))
server = http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT_HTTP"])), Answer)
print("listening", flush=True)
server.serve_forever()
"""


def check(**changes: Any) -> dict[str, Any]:
    right = {
        "protocol": "HTTP",
        "port": "PORT_HTTP",
        "initial_delay": "0s",
        "timeout": "3s",
        "interval": "100ms",
        "http_path": "/up",
        "http_acceptable_responses": [200],
    }
    return right | changes


def server(*checks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A task that answers over HTTP, with its checks."""
    words = ("python3", "-c", "import os; exec(os.environ['SERVER'])")
    return config(*words, env={"SERVER": SERVER}, ports={"HTTP": 0}, health_checks=list(checks), **changes)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data", "--metrics-seconds", "600") as agent:
        yield agent


def health(agent: Agent, container_id: str) -> Any:
    instance = agent.instance(container_id)
    return instance.get("health") if instance else None


def is_now(agent: Agent, container_id: str, state: str) -> Any:
    """Wait for a state of health; returns the health."""

    def reached() -> Any:
        now = health(agent, container_id)
        return now if now and now["state"] == state else None

    return wait_until(reached, f"{container_id} is {state}")


def test_health_is_told_when_it_changes_and_a_readiness_check_restarts_nothing(agent: Agent) -> None:
    watch = agent.watch()
    agent.create("ready-0", server(check(), unhealthy_after=30))
    assert health(agent, "ready-0") is None
    well = agent.data / "containers/ready-0/root/well"
    well.touch()
    assert agent.call("POST", "/containers/ready-0/start").status == 202
    since = is_now(agent, "ready-0", "healthy")["since"]
    hits, seen = well.with_name("hits"), well.with_name("hits").stat().st_size
    wait_until(lambda: hits.stat().st_size > seen + 3, "some more checks")
    well.unlink()
    told = is_now(agent, "ready-0", "unhealthy")
    port = agent.instance("ready-0")["config"]["ports"]["HTTP"]
    assert told["last"] == f"HTTP check of port {port}: /up answered 503, not 200"
    assert (told["failures"], told["since"] > since) == (30, True)
    assert agent.instance("ready-0")["last_lines"] == ["listening"], "why may be in what it wrote"
    well.touch()
    assert is_now(agent, "ready-0", "healthy")["since"] > told["since"]
    state = agent.instance("ready-0")["process_state"]
    assert (state["up"], state["restarts"]) == (True, 0)
    agent.stop("ready-0")
    agent.wait_for("ready-0", "finished")
    assert health(agent, "ready-0") is None
    instances = [each for event in list(watch.events) if (each := event["containers"].get("ready-0"))]
    states = [each.get("health", {}).get("state", "") for each in instances]
    changes = [state for before, state in zip(["", *states], states, strict=False) if state != before]
    assert changes == ["starting", "healthy", "unhealthy", "healthy", ""]
    same = [each for before, each in itertools.pairwise(instances) if before == each]
    assert not same, "an event for each change, none for each check"
    watch.close()


@pytest.mark.parametrize(("policy", "again"), [("on-failure", True), ("no", False)])
def test_a_liveness_check_ends_a_task_and_its_restart_policy_goes_on(
    agent: Agent, policy: str, again: bool
) -> None:
    wanted = server(check(kind="liveness"), restart=policy, unhealthy_after=30)
    agent.create("alive-0", wanted)
    (agent.data / "containers/alive-0/root/well").touch()
    agent.call("POST", "/containers/alive-0/start")
    is_now(agent, "alive-0", "healthy")
    (agent.data / "containers/alive-0/root/well").unlink()
    if again:
        # It ends with status 0 when it is asked to: by itself, that would be no end to restart for.
        wait_until(lambda: agent.instance("alive-0")["process_state"]["restarting"])
        assert "not healthy: HTTP check" in agent.instance("alive-0")["process_state"]["err"]
        (agent.data / "containers/alive-0/root/well").touch()
        is_now(agent, "alive-0", "healthy")
        state = agent.instance("alive-0")["process_state"]
        assert (state["restarts"], "err" in state) == (1, False)
        agent.stop("alive-0")
    state = agent.wait_for("alive-0", "finished")["process_state"]
    assert ("not healthy" in state.get("err", "")) is not again
    agent.call("DELETE", "/containers/alive-0")


def test_a_task_that_ignores_its_end_is_killed_and_a_stop_meanwhile_holds(agent: Agent) -> None:
    script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.01; done"
    deaf = {"restart": "always", "unhealthy_after": 1, "grace": {"startup": "1s", "shutdown": "1s"}}
    alive = check(protocol="TCP", port="NONE", kind="liveness", initial_delay="300ms")
    agent.run("deaf-0", shell(script, health_checks=[alive], **deaf))
    agent.wait_for_log("deaf-0", "asked")
    agent.stop("deaf-0")
    state = agent.wait_for("deaf-0", "finished")["process_state"]
    assert state["container_exit_status"] == {"signaled": True, "signal": 9}
    assert agent.log("deaf-0").count("asked") == 1, "it was asked once"


def test_many_checks_cost_no_thread_each(agent: Agent) -> None:
    for number in range(20):
        checks = [check(protocol="TCP", port="NONE", interval="0s") for _ in range(30)]
        agent.run(f"many-{number}", shell("sleep 1000", health_checks=checks))
    for number in range(20):
        is_now(agent, f"many-{number}", "starting")
    threads = [entry for pid in agent.workers() for entry in Path(f"/proc/{pid}/task").iterdir()]
    assert len(threads) < 60


def test_checks_go_on_under_the_next_agent(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.create("on-0", server(check(), unhealthy_after=2))
        (agent.data / "containers/on-0/root/well").touch()
        agent.call("POST", "/containers/on-0/start")
        is_now(agent, "on-0", "healthy")
        assert agent.end() == 0
        agent.start()
        is_now(agent, "on-0", "healthy")
        (agent.data / "containers/on-0/root/well").unlink()
        is_now(agent, "on-0", "unhealthy")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"health_checks": [check(kind="both")]}, "health_checks[0].kind is 'both'; it must be one of"),
        ({"health_checks": [check()] * 33}, "health_checks is '33 checks'; at most 32 are possible"),
        ({"unhealthy_after": -1}, "unhealthy_after is -1; it must be from 1 to 100"),
    ],
)
def test_what_makes_no_sense_is_refused(agent: Agent, changes: dict[str, Any], told: str) -> None:
    reply = agent.call("PUT", "/containers/bad-0", shell("true") | changes)
    assert (reply.status, reply.body.decode().startswith(told)) == (400, True), reply.body
    assert agent.instance("bad-0") is None
