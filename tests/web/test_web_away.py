"""Agents that are away, over HTTP: what is shown of them, declaring them lost, and the brake."""

from __future__ import annotations

from typing import Any

import pytest
from falcon.testing import TestClient
from web_cases import ENDPOINT, MIN_HASH, client_of, cluster_with, running_cluster

from scheduling.actual import AgentStatus
from scheduling.lost import Brake
from scheduling.presence import MarkLost
from web.memory import InMemoryCluster

BRAKE = Brake(since=1000.0, until=1600.0, away=3, agents=4)
KEY = {"Idempotency-Key": "one"}


def stale(name: str, since: float = 5.0) -> AgentStatus:
    return AgentStatus(name=name, endpoint=ENDPOINT, link="stale", answered=True, since=since, error="silent")


def away(*names: str) -> InMemoryCluster:
    """Four agents, of which these are away."""
    cluster = cluster_with("n1", "n2", "n3", "n4")
    for name in cluster.state.desired.agents:
        cluster.connect(name)
    for name in names:
        cluster.report_agent(stale(name))
    return cluster


def shown(client: TestClient, name: str = "n1") -> dict[str, Any]:
    found: dict[str, Any] = client.simulate_get(f"/api/v1/agents/{name}").json
    return found


def test_an_agent_that_is_away_says_since_when_and_what_its_tasks_wait_for() -> None:
    cluster = away("n1")
    client = client_of(cluster)
    one = shown(client)
    assert (one["connected"], one["stale_since"], one["lost_since"]) == (False, 5.0, None)
    assert one["why"].startswith("its tasks wait for it")
    well = shown(client, "n2")
    assert (well["connected"], well["stale_since"], well["why"]) == (True, None, "")
    cluster.judge(MarkLost(agent="n1", since=5.0))
    assert (shown(client)["lost_since"], "placed elsewhere" in shown(client)["why"]) == (5.0, True)
    cluster.connect("n1")
    assert (shown(client)["connected"], "it is back" in shown(client)["why"]) == (True, True)


def test_an_agent_shows_until_when_the_brake_holds_it_also_when_that_changes() -> None:
    cluster = away("n1", "n2", "n3")
    client = client_of(cluster)
    assert shown(client)["braked_until"] is None
    cluster.report_brake(BRAKE)
    assert shown(client)["braked_until"] == 1600.0
    assert "the brake holds until 00:26:40 UTC" in shown(client)["why"]
    assert shown(client, "n4")["braked_until"] is None, "it is connected"
    cluster.report_brake(None)
    assert shown(client)["braked_until"] is None


def test_of_two_operators_who_saw_the_same_only_one_may_declare_it_lost() -> None:
    client = client_of(away("n1"))
    seen = {"If-Match": f'"{shown(client)["version"]}"'}
    assert client.simulate_post("/api/v1/agents/n1/cordon", headers=seen).status_code == 200
    late = client.simulate_post("/api/v1/agents/n1/lost", headers=seen)
    assert (late.status_code, "n1 is at version" in late.json["detail"]) == (412, True)
    assert shown(client)["declared_lost"] is False
    now = {"If-Match": f'"{shown(client)["version"]}"'}
    assert client.simulate_post("/api/v1/agents/n1/lost", headers=now).status_code == 200


def test_declaring_an_agent_lost_is_idempotent() -> None:
    client = client_of(away("n1"))
    reply = client.simulate_post("/api/v1/agents/n1/lost", headers=KEY)
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    assert reply.headers["x-harpoon-index"] == str(reply.json["version"])
    assert reply.headers["idempotency-key"] == "one"
    assert client.simulate_post("/api/v1/agents/n1/lost", headers=KEY).json == reply.json
    again = client.simulate_post("/api/v1/agents/n1/lost")
    assert (again.status_code, again.json["result"]) == (200, "unchanged")
    assert shown(client)["declared_lost"] is True
    assert "operator has declared it lost" in shown(client)["why"]


def test_an_agent_that_is_connected_can_not_be_declared_lost() -> None:
    cluster = away()
    reply = client_of(cluster).simulate_post("/api/v1/agents/n1/lost")
    assert (reply.status_code, reply.headers["content-type"]) == (409, "application/problem+json")
    assert "n1 is connected" in reply.json["detail"]
    assert cluster.state.desired.agents["n1"].declared_lost is False


def test_an_agent_that_is_not_there_can_not_be_lost() -> None:
    assert client_of(away()).simulate_post("/api/v1/agents/n9/lost").status_code == 404


@pytest.mark.parametrize(
    "path", ["/api/v1/agents/n1/lost", "/api/v1/agents/new/lost", "/api/v1/brake/release"]
)
def test_who_is_cut_off_judges_nothing(path: str) -> None:
    cluster = away()
    cluster.available = False
    cluster.state.set_connected(False, 1.0)
    reply = client_of(cluster).simulate_post(path)
    assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


def test_the_brake_shows_who_is_away_and_is_released() -> None:
    cluster = away("n1", "n2", "n3")
    cluster.report_brake(BRAKE)
    client = client_of(cluster)
    brake = client.simulate_get("/api/v1/brake").json
    assert (brake["holds"], brake["released"], brake["since"], brake["until"]) == (
        True,
        False,
        1000.0,
        1600.0,
    )
    assert (brake["away"], brake["agents"], brake["waiting"]) == (3, 4, ["n1", "n2", "n3"])
    assert "until 00:26:40 UTC" in brake["message"]
    reply = client.simulate_post("/api/v1/brake/release")
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    cluster.report_brake(None)  # as the scheduler does once it sees the release
    brake = client.simulate_get("/api/v1/brake").json
    assert (brake["holds"], brake["released"]) == (False, True)
    assert client.simulate_get("/health/ready").json["brake_released"] is True
    again = client.simulate_post("/api/v1/brake/release")
    assert (again.status_code, again.json["result"]) == (200, "unchanged")


def test_a_brake_that_does_not_hold_can_not_be_released() -> None:
    cluster = away("n1")
    reply = client_of(cluster).simulate_post("/api/v1/brake/release")
    assert reply.status_code == 409
    assert "1 of 4 agents are away; the brake does not hold" in reply.json["detail"]
    assert cluster.state.desired.brake_release is None


def test_tasks_of_a_lost_agent_stay_visible() -> None:
    cluster = running_cluster()
    cluster.report_agent(stale("n1"))
    client = client_of(cluster)
    client.simulate_post("/api/v1/agents/n1/lost")
    assert client.simulate_get(f"/api/v1/tasks/{MIN_HASH}-0").json["stale"] is True
