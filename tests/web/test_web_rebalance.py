"""`/api/v1/rebalance`: planned, approved, followed, cancelled."""

from __future__ import annotations

from typing import Any

from web_obedient import URL, Town, body, town

PATH = "/api/v1/rebalance"
CONFIG: dict[str, Any] = {"scale": 6, "resources": {"mem": 500, "cpu": 0.1, "fd": 0}}


def crowded() -> Town:
    """Six tasks on n1, and n2 is empty."""
    cluster = town(scale=1)
    cluster.client.simulate_post("/api/v1/agents/n2/cordon")
    assert cluster.client.simulate_put(URL, json=body(**CONFIG)).status_code == 202
    cluster.settle()
    cluster.client.simulate_delete("/api/v1/agents/n2/cordon")
    assert on(cluster) == {"n1": 6}
    return cluster


def on(cluster: Town) -> dict[str, int]:
    agents = [task["agent"] for task in cluster.job()["tasks"]]
    return {name: agents.count(name) for name in sorted(set(agents))}


def planned(cluster: Town) -> dict[str, Any]:
    reply = cluster.client.simulate_post(f"{PATH}/plan")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json
    return found


def test_a_plan_moves_nothing_and_says_what_and_why() -> None:
    cluster = crowded()
    at = cluster.state.version
    told = planned(cluster)
    assert (cluster.state.version, on(cluster)) == (at, {"n1": 6})
    assert told["message"] == ("3 tasks would be moved; agents are 0% to 73% full, and would be 37% to 37%")
    assert told["moves"][0] == {
        "task": f"{cluster.job()['versions'][0]['prefix']}-0", "source": "n1", "target": "n2",
        "why": "n1 is 73% full, n2 0%",
    }  # fmt: skip
    assert [(load["agent"], load["tasks_before"], load["tasks_after"]) for load in told["agents"]] == [
        ("n1", 6, 3), ("n2", 0, 3),
    ]  # fmt: skip
    assert planned(cluster) == told


def test_what_was_approved_is_done_and_told_of() -> None:
    cluster = crowded()
    reply = cluster.client.simulate_post(PATH, params={"approve": planned(cluster)["token"]})
    assert (reply.status_code, reply.json["result"]) == (202, "changed")
    shown = cluster.client.simulate_get(PATH)
    assert (shown.json["state"], shown.json["left"]) == ("running", 3)
    assert shown.headers["etag"] == f'"{shown.json["version"]}"'
    cluster.settle()
    assert on(cluster) == {"n1": 3, "n2": 3}
    over = cluster.client.simulate_get(PATH).json
    assert (over["state"], over["message"], over["left"]) == ("over", "3 of 3 tasks were moved", 0)
    assert {move["state"] for move in over["moves"]} == {"moved"}
    assert planned(cluster)["moves"] == []
    again = cluster.client.simulate_post(PATH)
    assert (again.status_code, again.json["result"]) == (200, "unchanged")


def test_what_has_moved_since_is_not_done() -> None:
    cluster = crowded()
    token = planned(cluster)["token"]
    cluster.client.simulate_put(URL, json=body(**{**CONFIG, "scale": 2}))
    cluster.settle()
    reply = cluster.client.simulate_post(PATH, params={"approve": token})
    assert reply.status_code == 412
    assert "would not do any more what was approved" in reply.json["detail"]
    assert cluster.client.simulate_get(PATH).status_code == 404
    assert cluster.client.simulate_post(PATH, params={"approve": "now"}).status_code == 400


def test_repeating_it_with_its_key_gets_the_same_answer() -> None:
    cluster = crowded()
    token = planned(cluster)["token"]
    for params in ({"approve": token}, {}):
        headers = {"Idempotency-Key": f"k-{len(params)}"}
        first = cluster.client.simulate_post(PATH, params=params, headers=headers)
        assert first.status_code == 202, first.text
        cluster.settle()
        again = cluster.client.simulate_post(PATH, params=params, headers=headers)
        assert (again.status_code, again.json) == (first.status_code, first.json)
        cluster = crowded()


def test_one_at_a_time_and_cancelled_by_its_version() -> None:
    cluster = crowded()
    cluster.client.simulate_post(PATH, json={"deadline": "10m"})
    second = cluster.client.simulate_post(PATH)
    assert (second.status_code, "is under way" in second.json["detail"]) == (409, True)
    stale = cluster.client.simulate_delete(PATH, headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    shown = cluster.client.simulate_get(PATH)
    reply = cluster.client.simulate_delete(PATH, headers={"If-Match": shown.headers["etag"]})
    assert reply.json["message"] == "the rebalance is cancelled by its operator, with 3 moves left"
    cluster.settle()
    assert on(cluster) == {"n1": 6}


def test_a_wrong_deadline_is_named() -> None:
    reply = crowded().client.simulate_post(PATH, json={"deadline": "soon"})
    assert (reply.status_code, reply.json["errors"][0]["field"]) == (400, "deadline")


def test_there_was_none() -> None:
    cluster = town()
    assert cluster.client.simulate_get(PATH).status_code == 404
    assert cluster.client.simulate_delete(PATH).status_code == 404
