"""Scale `all` over HTTP: v1 takes and shows it, v0 shows a number, a plan says which agents."""

from __future__ import annotations

from web_obedient import URL, body, town

V0 = "/api/v0"


def test_v1_shows_all_and_where_v0_a_number() -> None:
    cluster = town(scale="all")
    (version,) = cluster.job()["versions"]
    assert version["config"]["scale"] == "all"
    assert (version["places"], version["counts"]["wanted"]) == ({"0": "n1", "1": "n2"}, 2)
    shown = cluster.client.simulate_get(f"{V0}/registry").json
    assert {name: config["scale"] for name, config in shown.items()} == {version["hash"]: 2}
    assert cluster.client.simulate_put(f"{V0}/unschedule/{version['hash']}").status_code == 202
    cluster.settle()
    assert cluster.client.simulate_get(f"{V0}/registry").json == {}


def test_why_agents_have_none_is_shown_of_the_job_and_of_its_plan() -> None:
    cluster = town()
    other = body(scale="all", job="other", constraints=["name = n2"])
    url = "/api/v1/jobs/p/e/other"
    (planned,) = cluster.client.simulate_post(f"{url}/plan", json=other).json["left_out"]
    assert cluster.client.simulate_put(url, json=other).status_code == 201
    cluster.settle()
    (version,) = cluster.client.simulate_get(url).json["versions"]
    told = version["left_out"]
    assert told == planned
    assert (told["tasks"], told["agents"], version["waiting"]) == (0, 1, None)
    assert told["reason"] == "1 of 2 agents does not fit; nearest: n1: name is n1; it must be n2"
    assert told["refusals"] == [{"agent": "n1", "reason": "name is n1; it must be n2"}]
    assert told["groups"] == [{"agents": 1, "what": "does not match name = n2", "nearest": "n1"}]
    assert cluster.job()["versions"][0]["left_out"] is None, "it has a number"


def test_the_number_that_v0_shows_follows_the_agents() -> None:
    cluster = town(scale="all")
    page = cluster.client.simulate_get(f"{V0}/registry")
    reply = cluster.client.simulate_post("/api/v1/agents/n2/drain")
    assert reply.status_code == 200, reply.text
    cluster.settle()
    again = cluster.client.simulate_get(f"{V0}/registry")
    assert [config["scale"] for config in again.json.values()] == [1]
    assert page.headers["etag"] != again.headers["etag"]


def test_v0_can_not_schedule_it() -> None:
    cluster = town()
    reply = cluster.client.simulate_put(f"{V0}/schedule", json=body(scale="all", job="other"))
    assert reply.status_code == 400
    assert (
        "scale is 'all'; it must be a number; a task on each agent is scheduled through /api/v1" in reply.text
    )


def test_another_word_is_refused() -> None:
    reply = town().client.simulate_put(URL, json=body(scale="every"))
    assert reply.status_code == 400
    assert reply.json["errors"] == [
        {"field": "scale", "value": "every", "expected": 'it must be a whole number or "all"'}
    ]


def test_a_plan_says_on_which_agents() -> None:
    cluster = town()
    other = body(scale="all", job="other", constraints=["name = n2"])
    told = cluster.client.simulate_post("/api/v1/jobs/p/e/other/plan", json=other).json
    assert [(task["task"][-2:], task["action"], task["agent"]) for task in told["tasks"]] == [
        ("-0", "start", "n2")
    ]
    approved = {"approve": told["token"]}
    reply = cluster.client.simulate_put("/api/v1/jobs/p/e/other", json=other, params=approved)
    assert reply.status_code == 201
    cluster.settle()
    assert [
        task["agent"] for task in cluster.client.simulate_get("/api/v1/jobs/p/e/other").json["tasks"]
    ] == ["n2"]


def test_a_migration_replaces_it_agent_by_agent() -> None:
    cluster = town(scale="all")
    assert cluster.client.simulate_put(URL, json=body("two", scale="all")).status_code == 202
    cluster.settle()
    row = cluster.migration()
    assert (row["state"], row["floor"], row["ceiling"], row["new"]["scale"]) == ("done", 1, 2, 2)
    (version,) = cluster.job()["versions"]
    assert version["places"] == {"0": "n1", "1": "n2"}


def test_a_snapshot_has_the_places() -> None:
    cluster = town(scale="all")
    saved = cluster.client.simulate_get("/api/v1/snapshot").json
    assert saved["jobs"][0]["places"] == {"0": "n1", "1": "n2"}
    assert cluster.client.simulate_put("/api/v1/snapshot", json=saved).json["result"] == "unchanged"
    for places in ({"x": "n1"}, {"9" * 5000: "n1"}, {"-1": "n1"}, {"0": ""}):
        saved["jobs"][0]["places"] = places
        reply = cluster.client.simulate_put("/api/v1/snapshot", json=saved)
        assert (reply.status_code, reply.json["errors"][0]["field"]) == (400, "jobs[0].places")


def test_it_is_described() -> None:
    schemas = town().client.simulate_get("/openapi.json").json["components"]["schemas"]
    assert schemas["JobConfig"]["properties"]["scale"] == {"anyOf": [{"type": "integer"}, {"enum": ["all"]}]}


def test_a_drain_shows_why_it_can_not_go_on() -> None:
    cluster = town(constraints=["name = n1"])
    cluster.client.simulate_post("/api/v1/agents/n1/drain")
    cluster.settle()
    drain = cluster.client.simulate_get("/api/v1/agents/n1").json["drain"]
    assert (drain["left"], drain["staying"], len(drain["why"])) == (3, 3, 3)
    assert all("does not match name = n1" in why for why in drain["why"].values())
    cluster.client.simulate_delete("/api/v1/agents/n1/drain")
    cluster.settle()
    assert cluster.client.simulate_get("/api/v1/agents/n1").json["drain"] is None
    assert cluster.state.staying == {}
