"""The hosts of the convention, as web shows them."""

from __future__ import annotations

from web_cases import client_of, running_cluster

from scheduling.members import MemberStatus, Offer

LEADER = MemberStatus(
    address="10.0.0.1:4445",
    offer=Offer(name="one", zone="", flocks=20, version="1"),
    leader=True,
    connected=True,
    since=1.0,
    flocks=1,
    agents=7,
)
LOST = MemberStatus(
    address="10.0.0.2:1",
    offer=Offer(name="a-two", zone="east", flocks=4, version="1"),
    leader=False,
    connected=False,
    since=2.0,
    trouble="it was old before it was lost",
)
OLD = MemberStatus(
    address="10.0.0.3:1",
    offer=Offer(name="three", zone="", flocks=4, version="0"),
    leader=False,
    connected=True,
    since=3.0,
    trouble="it runs harpoon 0, and the leader 1",
)


def test_the_leader_comes_first_and_each_says_how_it_is() -> None:
    cluster = running_cluster()
    for status in (OLD, LOST, LEADER):
        cluster.report_member(status)
    client = client_of(cluster)
    first, second, third = client.simulate_get("/api/v1/members").json["members"]
    assert first == {
        "name": "one",
        "address": "10.0.0.1:4445",
        "role": "leader",
        "zone": "",
        "link": "connected",
        "since": 1.0,
        "flocks": 1,
        "most_flocks": 20,
        "agents": 7,
        "version": "1",
        "note": "",
    }
    assert (second["name"], second["role"], second["link"], second["note"]) == ("a-two", "member", "lost", "")
    assert (third["link"], third["note"]) == ("refused", "it runs harpoon 0, and the leader 1")


def test_a_lost_member_is_shown_and_leaves_the_scheduler_ready() -> None:
    cluster = running_cluster()
    cluster.report_member(LOST)
    client = client_of(cluster)
    ready = client.simulate_get("/health/ready")
    assert ready.status_code == 200
    assert [each["link"] for each in ready.json["members"]] == ["lost"]
    text = client.simulate_get("/metrics").text
    assert 'harpoon_member_up{member="a-two",address="10.0.0.2:1"} 0.0\n' in text


def test_without_news_of_hosts_the_list_is_empty() -> None:
    assert client_of(running_cluster()).simulate_get("/api/v1/members").json == {"members": []}
