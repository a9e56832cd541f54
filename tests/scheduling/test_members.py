"""Where each flock should be: near its agents, else where there is most room; and it stays where it is."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from config.bounds import MOST_MEMBERS
from scheduling.members import LEADER, SHUNNED_SECONDS, Members, MemberStatus, Offer, places


def offer(name: str = "one", zone: str = "", flocks: int = 2, version: str = "1") -> Offer:
    return Offer(name=name, zone=zone, flocks=flocks, version=version)


def host(address: str, zone: str = "", flocks: int = 2, connected: bool = True) -> MemberStatus:
    return MemberStatus(
        address=address,
        offer=offer(address, zone, flocks),
        leader=address == LEADER,
        connected=connected,
        since=0.0,
    )


def hosts(*known: MemberStatus) -> dict[str, MemberStatus]:
    return {each.address: each for each in (host(LEADER), *known)}


def test_a_flock_is_made_on_a_host_of_its_zone() -> None:
    known = hosts(host("w", "west"), host("e", "east", flocks=3))
    assert places({"f": "east"}, {}, known) == {"f": "e"}


def test_elsewhere_it_is_where_the_smallest_share_is_taken() -> None:
    known = hosts(host("big", flocks=4), host("small", flocks=2))
    at = {"a": LEADER, "b": "small", "c": "big"}
    zones = dict.fromkeys([*at, "new"], "")
    assert places(zones, at, known) == {"new": "big"}, "a quarter against halves"
    assert places({"f": ""}, {}, known) == {"f": LEADER}, "of hosts alike the leader's"
    assert places({"f": "nobody's"}, {}, known) == {"f": LEADER}, "no host is of its zone"


def test_flocks_without_a_place_are_spread_one_by_one() -> None:
    known = hosts(host("m"), host("n"))
    found = places(dict.fromkeys("abcdef", ""), {}, known)
    assert sorted(found.values()) == [LEADER, LEADER, "m", "m", "n", "n"]


def test_a_member_has_no_more_flocks_than_it_is_for_and_the_leader_takes_the_rest() -> None:
    known = hosts(host("e", "east", flocks=2))
    found = places(dict.fromkeys("abcdefgh", "east"), {}, known)
    assert [*found.values()].count("e") == 2
    assert [*found.values()].count(LEADER) == 6


def test_a_flock_stays_when_a_host_joins() -> None:
    at = {"a": LEADER, "b": LEADER}
    assert places({"a": "", "b": "west"}, at, hosts(host("e", "east"))) == {}


def test_a_flock_moves_to_the_first_host_of_its_zone_with_room_and_to_no_second() -> None:
    first = host("e1", "east")
    zones = {"a": "east"}
    assert places(zones, {"a": LEADER}, hosts(first)) == {"a": "e1"}
    assert places(zones, {"a": "e1"}, hosts(first, host("e2", "east"))) == {}
    full = {"a": LEADER, "b": "e1", "c": "e1"}
    assert places(dict.fromkeys(full, "east"), full, hosts(first)) == {}, "there is no room"


def test_the_leader_has_a_zone_too() -> None:
    known = {LEADER: host(LEADER, "east"), "w": host("w", "west")}
    assert places({"a": "east"}, {"a": "w"}, known) == {"a": LEADER}


def test_who_can_be_anywhere_takes_no_room_from_those_of_a_zone() -> None:
    known = {LEADER: host(LEADER, flocks=1), "e": host("e", "east", flocks=1)}
    zones = {"here": "", "any": "", "east": "east"}
    assert places(zones, {"here": LEADER}, known) == {"east": "e", "any": LEADER}


def test_flocks_of_a_lost_host_are_made_on_another() -> None:
    known = hosts(host("e", "east", connected=False), host("m"))
    assert places({"a": "east", "b": ""}, {"a": "e", "b": "e"}, known) == {"a": LEADER, "b": "m"}


ZONES = st.sampled_from(["", "east", "west"])
HOSTS = st.lists(st.tuples(ZONES, st.integers(1, 3), st.booleans()), max_size=5).map(
    lambda found: hosts(*(host(f"h{number}", *each) for number, each in enumerate(found)))
)


@given(
    known=HOSTS,
    zones=st.dictionaries(st.sampled_from([f"f{n}" for n in range(12)]), ZONES),
    where=st.lists(st.sampled_from([LEADER, *(f"h{n}" for n in range(6))]), min_size=12, max_size=12),
)
def test_every_flock_has_a_place_that_lasts(
    known: dict[str, MemberStatus], zones: dict[str, str], where: list[str]
) -> None:
    """After the moves each flock is on a host that is there, and nothing more is to be moved."""
    at = dict(zip(sorted(zones), where, strict=False))
    before = dict(at)
    moves = places(zones, at, known)
    assert at == before, "it decides, and changes nothing"
    at.update(moves)
    for flock, zone in zones.items():
        assert at[flock] in known
        assert known[at[flock]].usable
        if moves.get(flock) == before.get(flock, "nowhere"):
            raise AssertionError(f"{flock} is moved to where it is")
        if zone and known[at[flock]].offer.zone != zone:
            near = [each for each in known.values() if each.usable and each.offer.zone == zone]
            assert all([*at.values()].count(each.address) >= each.offer.flocks for each in near)
    for address, status in known.items():
        came = [flock for flock, there in moves.items() if there == address]
        if came and address != LEADER:
            assert [at[flock] for flock in zones].count(address) <= status.offer.flocks
    assert places(zones, at, known) == {}


# --- who is there ---


def test_a_member_comes_goes_and_comes_back() -> None:
    members = Members("10.0.0.1:1", offer("leader"), 0.0)
    assert members.joined("m", offer("two", "east"), 1.0)
    assert members.hosts["m"].usable
    assert members.left("m", 2.0)
    assert not members.left("m", 3.0), "it was gone"
    assert (members.hosts["m"].connected, members.hosts["m"].since) == (False, 2.0)
    assert members.joined("m", offer("two", "west"), 4.0)
    assert (members.hosts["m"].usable, members.hosts["m"].offer.zone) == (True, "west")
    assert not members.left("nobody", 5.0)
    assert not members.left(LEADER, 5.0), "who says so is there"


def test_a_member_of_another_version_is_shown_and_not_used() -> None:
    members = Members("10.0.0.1:1", offer("leader", version="2"), 0.0)
    members.joined("m", offer("two", version="1"), 1.0)
    assert members.hosts["m"].connected
    assert not members.hosts["m"].usable
    assert members.hosts["m"].trouble == "it runs harpoon 1, and the leader 2"


def test_a_member_that_is_shunned_is_used_again_after_a_while() -> None:
    members = Members("leader", offer("leader"), 0.0)
    members.joined("m", offer(), 1.0)
    members.shun("m", "silence", 10.0)
    assert (members.hosts["m"].usable, members.hosts["m"].trouble) == (False, "silence")
    assert not members.forgive(10.0 + SHUNNED_SECONDS - 1.0)
    assert members.forgive(10.0 + SHUNNED_SECONDS)
    assert members.hosts["m"].usable
    members.shun("m", "silence", 100.0)
    members.left("m", 101.0)
    members.joined("m", offer(), 102.0)
    assert members.hosts["m"].usable, "it is another life of it"
    assert not members.forgive(1000.0)
    members.shun(LEADER, "silence", 0.0)
    assert members.hosts[LEADER].usable, "somebody has to"


def test_there_are_so_many_members_and_the_longest_lost_is_forgotten_for_another() -> None:
    members = Members("leader", offer("leader"), 0.0)
    for number in range(MOST_MEMBERS):
        assert members.joined(f"m{number}", offer(), float(number))
    assert not members.joined("one too many", offer(), 100.0)
    assert members.joined("m3", offer(), 100.0), "it is one of them"
    members.left("m7", 101.0)
    members.left("m5", 102.0)
    assert members.joined("another", offer(), 103.0)
    assert "m7" not in members.hosts
    assert "m5" in members.hosts


def test_what_is_on_each_is_counted() -> None:
    members = Members("leader", offer("leader"), 0.0)
    members.joined("m", offer(), 1.0)
    members.count({"a": "m", "b": "m", "c": LEADER}, {"a": {"x", "y"}, "b": {"z"}, "c": ()})
    assert [(each.flocks, each.agents) for each in members.hosts.values()] == [(1, 0), (2, 3)]
    assert msgspec.structs.replace(members.hosts["m"], flocks=0, agents=0).address == "m"
