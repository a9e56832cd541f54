"""Open files: an agent takes what it may, its tasks get what it was started with, none is one too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_harness import Agent, config, running_agent, shell
from exec_client import ExecClient

from config.bounds import AGENT_OWN_FILES

SOFT, MOST = 300, 4
HARD = AGENT_OWN_FILES + MOST
LIMITED = ["sh", "-c", f'ulimit -S -n {SOFT} && ulimit -H -n {HARD} && exec "$@"', "sh"]
TELL = "ulimit -S -n; ulimit -H -n"


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data", launcher=LIMITED) as agent:
        yield agent


def test_the_agent_lets_itself_have_what_it_may(agent: Agent) -> None:
    for pid in (agent.process.pid, *agent.workers()):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(rf"Max open files +{HARD} +{HARD} ", limits)


@pytest.mark.parametrize("driver", ["process", "bubblewrap"])
@pytest.mark.parametrize(
    ("files", "told"),
    [(0, [str(SOFT), str(HARD)]), (77, ["77", "77"]), (100_000, [str(HARD), str(HARD)])],
)
def test_a_task_has_what_it_asks_for_or_what_the_agent_was_started_with(
    agent: Agent, driver: str, files: int, told: list[str]
) -> None:
    if driver not in agent.call("GET", "/resources").json()["drivers"]:
        pytest.skip(f"{driver} does not work here")
    resources = {"mem": 16, "cpu": 0.001, "fd": files}
    agent.run("tells-0", shell(f"{TELL}; exec sleep 1000", driver=driver, resources=resources))
    agent.wait_for_log("tells-0", told[-1])
    assert agent.log("tells-0") == told
    with ExecClient(
        f"ws://127.0.0.1:{agent.port}/api/v1/containers/tells-0/exec", "sh", "-c", TELL
    ) as client:
        client.end()
        assert client.out.decode().split() == told
    agent.stop("tells-0")
    agent.wait_for("tells-0", "finished")
    assert agent.call("DELETE", "/containers/tells-0").status == 200


def test_no_more_tasks_than_it_may_open_files_for(agent: Agent) -> None:
    for number in range(MOST):
        assert agent.call("PUT", f"/containers/many-{number}", config()).status == 201
    reply = agent.call("PUT", "/containers/many-x", config())
    text = f"no room: {MOST} tasks are here, as many as this agent may open files for\n"
    assert (reply.status, reply.body.decode()) == (500, text)
    assert agent.call("DELETE", "/containers/many-0").status == 200
    assert agent.call("PUT", "/containers/many-x", config()).status == 201
