"""`…/plan` and `?approve=`: what would be done is told without doing it, and just that is done or nothing."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from falcon.testing import ASGIConductor, TestClient
from web_cases import client_of
from web_obedient import URL, Town, body, town

from scheduling.placement import random_fit
from scheduling.plan import plan
from scheduling.registry import AgentSpec
from web import limits
from web.app import create_app
from web.memory import InMemoryCluster

PLAN = f"{URL}/plan"


def planned(cluster: Town, config: dict[str, Any]) -> dict[str, Any]:
    """A plan that was made."""
    reply = cluster.client.simulate_post(PLAN, json=config)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def approve(cluster: Town, config: dict[str, Any], token: str, **headers: str) -> Any:
    """A PUT that may only do what the plan says."""
    return cluster.client.simulate_put(URL, json=config, params={"approve": token}, headers=headers)


def test_a_plan_tells_fields_limits_and_tasks_and_changes_nothing() -> None:
    cluster = town()
    at, before = cluster.state.version, cluster.job()
    told = planned(cluster, body("two", scale=4))
    assert (cluster.state.version, cluster.job()) == (at, before)
    assert (told["result"], told["version"], told["complete"], told["waiting"]) == ("changed", at, True, [])
    assert told["fields"] == [
        {"field": "env.GREETING", "before": "one", "after": "two"},
        {"field": "scale", "before": 3, "after": 4},
    ]
    assert told["limits"] == {"strategy": "rolling", "max_parallel": 1, "floor": 3, "ceiling": 5}
    assert told["message"] == f"p/e/min would be migrated to {told['hash']}, rolling"
    actions = [(task["task"].rpartition("-")[0], task["action"]) for task in told["tasks"]]
    old = before["versions"][0]["prefix"]
    assert actions == [(old, "stop")] * 3 + [(told["hash"], "start")] * 4
    assert all(task["agent"] in ("n1", "n2") for task in told["tasks"])


def test_the_same_plan_has_the_same_token_and_another_has_another() -> None:
    cluster = town()
    one, same, other = (planned(cluster, body(name))["token"] for name in ("two", "two", "three"))
    assert one == same != other


def test_of_what_is_there_already_nothing_would_change() -> None:
    cluster = town()
    told = planned(cluster, body())
    assert (told["result"], told["fields"], told["tasks"]) == ("unchanged", [], [])
    assert approve(cluster, body(), told["token"]).json["result"] == "unchanged"


def test_what_finds_no_place_says_why_for_each_agent() -> None:
    cluster = town()
    told = planned(cluster, body("two", scale=8, resources={"mem": 1500, "cpu": 0.1, "fd": 0}))
    [waiting] = told["waiting"]
    assert waiting["tasks"] > 0
    assert [refusal["agent"] for refusal in waiting["refusals"]] == ["n1", "n2"]
    assert {task["action"] for task in told["tasks"]} >= {"start", "wait"}


def test_a_plan_is_refused_for_what_the_put_would_be_refused_for() -> None:
    cluster = town()
    wrong = cluster.client.simulate_post(PLAN, json=body("two", update={"foo": 1}))
    assert (wrong.status_code, wrong.json["errors"][0]["field"]) == (400, "update.foo")
    unworkable = cluster.client.simulate_post(PLAN, json=body("two", update={"floor": 9}))
    assert (unworkable.status_code, "at most that many" in unworkable.json["detail"]) == (400, True)
    cluster.client.simulate_put(URL, json=body("two"))
    under_way = cluster.client.simulate_post(PLAN, json=body("three"))
    assert (under_way.status_code, "is being migrated" in under_way.json["detail"]) == (409, True)


def test_what_was_approved_is_done_just_so() -> None:
    cluster = town()
    # The plan is made by other lots than the scheduler's own: where it says is where they go all the same.
    cluster.client = TestClient(create_app(cluster, algorithm=random_fit))
    told = planned(cluster, body("two", scale=5))
    reply = approve(cluster, body("two", scale=5), told["token"])
    assert reply.status_code == 202
    cluster.settle()
    where = {task["id"]: task["agent"] for task in cluster.job()["tasks"]}
    assert where == {task["task"]: task["agent"] for task in told["tasks"] if task["action"] == "start"}


def test_what_has_moved_since_is_named() -> None:
    cluster = town()
    token = planned(cluster, body("two"))["token"]
    cluster.client.simulate_put(URL, json=body("one", scale=2))
    cluster.settle()
    at = cluster.state.version
    reply = approve(cluster, body("two"), token)
    assert reply.status_code == 412
    name = cluster.job()["versions"][0]["hash"]
    assert f"p/e/min was changed at version {cluster.job()['version']}, to {name}" in reply.json["detail"]
    assert cluster.state.version == at


def test_an_agent_that_came_or_a_config_that_is_another_is_named() -> None:
    cluster = town()
    token = planned(cluster, body("two", scale=5))["token"]
    assert "the config is another one" in approve(cluster, body("three"), token).json["detail"]
    cluster.add_agents(AgentSpec(name="n0", endpoint="http://n0.test:3333"))
    cluster.connect("n0", cluster.state.actual.agents["n1"].resources)
    reply = approve(cluster, body("two", scale=5), token)
    assert (reply.status_code, "the agent n0 was changed" in reply.json["detail"]) == (412, True)


def test_what_does_not_matter_to_the_plan_does_not_spoil_it() -> None:
    cluster = town()
    token = planned(cluster, body("two"))["token"]
    cluster.client.simulate_put("/api/v1/jobs/p/e/other", json={**body(), "job": "other", "restart": "x"})
    cluster.client.simulate_put("/api/v1/jobs/p/e/other/x", json={})
    assert approve(cluster, body("two"), token).status_code == 202


@pytest.mark.parametrize("token", ["", "x", "1", "1-2-3", "x-0123456789abcdef", "1" * 40 + "-0"])
def test_a_token_that_is_none(token: str) -> None:
    cluster = town()
    at = cluster.state.version
    reply = cluster.client.simulate_put(f"{URL}?approve={token}", json=body("two"))
    assert reply.status_code in (400, 412)
    assert cluster.state.version == at


def test_an_approved_change_whose_answer_was_lost_may_be_repeated() -> None:
    cluster = town()
    token = planned(cluster, body("two"))["token"]
    key = {"Idempotency-Key": "k"}
    cluster.answering = False
    assert approve(cluster, body("two"), token, **key).status_code == 503
    cluster.answering = True
    cluster.go(2)
    again = approve(cluster, body("two"), token, **key)
    assert (again.status_code, again.json["result"]) == (202, "changed")
    assert again.json["migration"] == cluster.migration()["id"]
    fresh = approve(cluster, body("two"), token)
    assert fresh.status_code == 412, "another request is another one"
    other = approve(cluster, body("two"), token.replace("-", "-0"), **key)
    assert other.status_code == 412, "the id stands for one token"


def test_too_many_plans_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_PLANS", 2)
    going, making = threading.Event(), []

    def slow(*args: Any) -> Any:
        making.append(args)
        assert going.wait(30)
        return plan(*args)

    monkeypatch.setattr("web.v1_plan.plan", slow)
    app = create_app(town())

    async def story() -> None:
        async with asyncio.timeout(30), ASGIConductor(app) as client:
            held = [asyncio.create_task(client.simulate_post(PLAN, json=body("two"))) for _ in range(2)]
            while len(making) < 2:
                await asyncio.sleep(0)
            third = await client.simulate_post(PLAN, json=body("two"))
            token = {"approve": "1-0123456789abcdef"}
            for refused in (third, await client.simulate_put(URL, json=body("two"), params=token)):
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert "2 plans are being made already" in refused.json["detail"]
            assert (await client.simulate_put(URL, json=body("one", scale=2))).status_code == 200
            going.set()
            assert [(await task).status_code for task in held] == [200, 200]
            assert (await client.simulate_post(PLAN, json=body("two"))).status_code == 200

    asyncio.run(story())


def test_a_job_that_is_new_is_planned_too() -> None:
    cluster = InMemoryCluster()
    told = client_of(cluster).simulate_post(PLAN, json=body()).json
    assert (told["result"], told["limits"]) == ("created", None)
    assert told["message"] == f"p/e/min would be scheduled as {told['hash']}"
    assert [task["action"] for task in told["tasks"]] == ["wait"] * 3
