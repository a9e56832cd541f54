"""Who keeps dying is told: by kind, with names, deaths and the next attempt, in health and metrics."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from web_cases import client_of

from scheduling.roster import ActorStatus, ChildStatus, NurseryStatus
from web import supervision as supervision_module
from web.memory import InMemoryCluster
from web.supervision import KindView, TroubledView, supervision

NOW = 1000.0


def child(name: str, deaths: int = 3, next_at: float | None = None, made_at: float = NOW - 1) -> ChildStatus:
    return ChildStatus(name=name, deaths=deaths, next_at=next_at, made_at=made_at)


def of(cluster: InMemoryCluster, kind: str) -> KindView:
    [found] = [view for view in supervision(cluster.state, NOW) if view.kind == kind]
    return found


def test_each_kind_counts_over_all_who_made_them() -> None:
    cluster = InMemoryCluster()
    for owner, restarts, next_at in (("flock-a", 2, NOW + 4.0), ("flock-b", 5, NOW + 1.5)):
        children = (child(f"of {owner}", next_at=next_at),)
        cluster.report_nursery(
            owner, NurseryStatus(kind="state_machine", restarts=restarts, children=children)
        )
    found = of(cluster, "state_machine")
    assert (found.restarts, found.waiting, found.next_seconds, found.troubled) == (7, 2, 1.5, 2)
    assert found.names[0] == TroubledView(name="of flock-a", deaths=3, next_seconds=4.0)
    assert of(cluster, "flock").restarts == 0


def test_one_that_lives_is_named_until_it_has_recovered() -> None:
    cluster = InMemoryCluster()
    children = (child("fresh", made_at=NOW - 59.0), child("well", made_at=NOW - 61.0))
    cluster.report_nursery("shepherd", NurseryStatus(kind="flock", restarts=4, children=children))
    found = of(cluster, "flock")
    assert (found.restarts, found.waiting, found.next_seconds) == (4, 0, None)
    assert found.names == [TroubledView(name="fresh", deaths=3, next_seconds=None)]


def test_the_supervisor_s_own_are_a_kind_too() -> None:
    cluster = InMemoryCluster()
    dying = ActorStatus(
        name="registry", address="x", pid=1, restarts=6, since=NOW, up=False, deaths=5, next_at=NOW + 1.6
    )
    cluster.report_actor(dying)
    cluster.report_actor(msgspec.structs.replace(dying, name="discovery", restarts=0, up=True, next_at=None))
    found = of(cluster, "actor")
    assert (found.restarts, found.waiting, found.next_seconds) == (6, 1, 1.6)
    assert found.names == [TroubledView(name="registry", deaths=5, next_seconds=1.6)]


def test_only_so_many_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision_module, "MOST_TROUBLED_SHOWN", 2)
    cluster = InMemoryCluster()
    children = tuple(child(f"n{number}", next_at=NOW + number) for number in range(5))
    cluster.report_nursery("f", NurseryStatus(kind="state_machine", restarts=5, children=children))
    found = of(cluster, "state_machine")
    assert (found.waiting, found.troubled, [one.name for one in found.names]) == (5, 5, ["n4", "n3"])


def test_health_and_metrics_tell_of_it_and_forget_it() -> None:
    cluster = InMemoryCluster()
    client = client_of(cluster)
    waits = NurseryStatus(kind="state_machine", restarts=9, children=(child("n1", next_at=9e9),))
    cluster.report_nursery("f", waits)
    body: dict[str, Any] = client.simulate_get("/health/ready").json
    machines = next(kind for kind in body["supervision"] if kind["kind"] == "state_machine")
    assert (machines["restarts"], machines["waiting"], machines["names"][0]["name"]) == (9, 1, "n1")
    assert body["ready"] is True, "the rest of the cluster is served"
    metrics = client.simulate_get("/metrics").text
    assert 'harpoon_supervised_restarts_total{kind="state_machine"} 9\n' in metrics
    assert 'harpoon_supervised_waiting{kind="state_machine"} 1\n' in metrics
    assert 'harpoon_supervised_next_attempt_seconds{kind="state_machine"} 0.0\n' not in metrics
