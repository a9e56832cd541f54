"""Agents register over HTTP: who has the token, and only those."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from falcon.testing import TestClient
from web_cases import cluster_with

from web.app import create_app
from web.memory import InMemoryCluster

TOKEN = "t" * 64
URL = "/api/v1/agents/new/registration"
BODY = {"endpoint": "10.0.0.9:3333", "labels": {"zone": "eu"}, "identity": "abc123"}
AUTH = {"Authorization": f"Bearer {TOKEN}"}


class Door:
    """A cluster that an agent knocks at."""

    def __init__(self, directory: Path) -> None:
        self.token = directory / "register-token"
        self.token.write_text(TOKEN + "\n")
        self.token.chmod(0o600)
        self.cluster: InMemoryCluster = cluster_with("n1")
        self.client = TestClient(create_app(self.cluster, register_token=self.token))

    def put(self, url: str = URL, headers: dict[str, str] = AUTH, **changes: Any) -> Any:
        return self.client.simulate_put(url, json={**BODY, **changes}, headers=headers)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_it_is_registered_and_renewed_without_a_write(door: Door) -> None:
    first = door.put()
    assert (first.status_code, first.json["result"], first.json["renew_seconds"]) == (201, "created", 10.0)
    shown = door.client.simulate_get("/api/v1/agents/new").json
    assert (shown["endpoint"], shown["labels"], shown["sources"]) == (
        "http://10.0.0.9:3333", {"zone": "eu"}, ["registered"],
    )  # fmt: skip
    at = door.cluster.state.version
    assert (door.put().status_code, door.cluster.state.version) == (200, at)
    assert door.cluster.renewed == ["new", "new"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer " + "u" * 64}, {"Authorization": TOKEN}])
def test_who_has_not_the_token_is_turned_away(door: Door, headers: dict[str, str]) -> None:
    for reply in (door.put(headers=headers), door.client.simulate_delete(URL, headers=headers)):
        assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert "u" * 64 not in reply.text
    assert "new" not in door.cluster.state.desired.agents


def test_without_a_token_nobody_may(door: Door) -> None:
    door.token.chmod(0o644)
    assert door.put().status_code == 403, "others may have read it"
    door.token.unlink()
    reply = door.put()
    assert (reply.status_code, "register-token" in reply.json["detail"]) == (403, True)
    assert TestClient(create_app(door.cluster)).simulate_put(URL, json=BODY, headers=AUTH).status_code == 403
    door.token.write_text("")
    door.token.chmod(0o600)
    assert door.put(headers={"Authorization": "Bearer "}).status_code == 403, "an empty token is none"


def test_another_token_counts_at_once(door: Door) -> None:
    door.token.write_text("v" * 64)
    assert door.put().status_code == 401
    assert door.put(headers={"Authorization": "Bearer " + "v" * 64}).status_code == 201


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"endpoint": "nowhere"}, "endpoint"),
        ({"identity": ""}, "identity"),
        ({"identity": "x" * 65}, "identity"),
        ({"identity": 7}, "identity"),
        ({"labels": {"a": 1}}, "labels"),
        ({"token": TOKEN}, "token"),
    ],
)
def test_what_is_wrong_is_named(door: Door, changes: dict[str, Any], field: str) -> None:
    reply = door.put(**changes)
    assert (reply.status_code, reply.json["errors"][0]["field"]) == (400, field)


def test_two_hosts_of_one_name(door: Door) -> None:
    door.put()
    door.cluster.connect("new")
    reply = door.put(endpoint="10.0.0.10:3333", identity="other")
    assert reply.status_code == 409
    assert reply.json["detail"] == (
        "new is connected at http://10.0.0.9:3333; start this agent with another --name"
    )
    assert door.put(endpoint="10.0.0.10:3333").status_code == 200, "the same one has moved"
    assert door.put(url="/api/v1/agents/n2/registration", endpoint="10.0.0.10:3333").status_code == 409


def test_it_says_goodbye(door: Door) -> None:
    door.put()
    wrong = door.client.simulate_delete(URL, headers=AUTH, params={"identity": "other"})
    assert wrong.status_code == 409
    reply = door.client.simulate_delete(URL, headers=AUTH, params={"identity": "abc123"})
    assert (reply.status_code, reply.json["result"]) == (200, "changed")
    assert "new" not in door.cluster.state.desired.agents


def test_who_is_cut_off_from_the_registry_says_so(door: Door) -> None:
    door.put()
    door.cluster.available = False
    assert door.put(endpoint="10.0.0.11:3333").status_code == 503
