"""The batch extension at a real agent: many containers in one request, each with a result of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from agent_harness import Agent, config, running_agent, wait_until

from config.bounds import AGENT_BATCH_ITEMS


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    data = tmp_path_factory.mktemp("agent") / "data"
    with running_agent(data, "--cpu", "2", "--mem", "1000", "--no-limits") as agent:
        yield agent


def item(container_id: str, step: str, position: int | None = None) -> dict[str, Any]:
    return {"container_id": container_id, "step": step, "config": position}


def ask(agent: Agent, body: Any) -> tuple[int, str]:
    reply = agent.call("POST", "/containers/batch", body, base="/api/v1")
    return reply.status, reply.body.decode()


def results(agent: Agent, items: list[dict[str, Any]], *configs: Any) -> list[tuple[int, str]]:
    status, text = ask(agent, {"items": items, "configs": configs})
    assert status == 200, text
    return [(result["status"], result["text"]) for result in json.loads(text)["results"]]


def test_the_event_stream_says_that_batches_are_taken(agent: Agent) -> None:
    assert agent.watch().response.getheader("Harpoon-Batch") == str(AGENT_BATCH_ITEMS)


def test_the_whole_life_of_several_containers(agent: Agent) -> None:
    watch, names = agent.watch(), ["b-0", "b-1", "c-0"]
    puts = [item(name, "put", int(name == "c-0")) for name in names]
    assert results(agent, puts, config(), config("sleep", "500")) == [(201, "created OK")] * 3
    wait_until(lambda: all(watch.statuses(name) == ["created"] for name in names))
    assert agent.call("GET", "/containers/c-0").json()["config"]["command"]["exec"] == ["sleep", "500"]
    assert results(agent, [item(name, "start") for name in names]) == [(202, "start accepted")] * 3
    wait_until(lambda: all(watch.statuses(name)[-1] == "running" for name in names))
    assert results(agent, [item(name, "stop") for name in names]) == [(202, "stop accepted")] * 3
    wait_until(lambda: all(watch.statuses(name)[-1] == "finished" for name in names))
    assert results(agent, [item(name, "delete") for name in names]) == [(200, "destroy OK")] * 3
    wait_until(lambda: all(watch.statuses(name)[-1] == "deleted" for name in names))


def test_each_item_is_judged_as_the_request_that_it_stands_for(agent: Agent) -> None:
    wrong = config(resources={"mem": 10_000_000, "cpu": 0.1, "fd": 0})
    items = [
        item("d-0", "put", 0),
        item("d-0", "put", 0),
        item("d-0", "stop"),
        item("nobody", "start"),
        item("d-1", "put", 1),
        item("d-2", "put", 2),
        item("a/b", "put", 0),
        item("d-0", "delete"),
    ]
    found = results(agent, items, config(), {"grace": {"startup": "soon"}}, wrong)
    assert [status for status, _ in found] == [201, 409, 409, 404, 400, 500, 400, 200]
    assert "already exists" in found[1][1]
    assert '"soon" is not a duration' in found[4][1]
    assert "mem" in found[5][1]
    assert "container id 'a/b' must be" in found[6][1]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "not a batch: "),
        (b"{" * 1000, 400, "not a batch: "),
        ({"items": [item("e-0", "dance")]}, 400, "Invalid enum value 'dance'"),
        ({"items": [item("e-0", "put", 7)], "configs": [{}]}, 400, "the put of 'e-0' names config 7 of 1"),
        ({"items": [item("e-0", "put")]}, 400, "names config None of 0"),
        ({"items": [item("e-0", "stop")] * 101}, 413, "a batch of 101 items; it may have up to 100"),
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(agent: Agent, body: Any, status: int, told: str) -> None:
    answered, text = ask(agent, body)
    assert answered == status
    assert told in text
    assert agent.call("GET", "/containers/e-0").status == 404
