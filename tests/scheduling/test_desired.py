"""The tables of the desired and the actual state, their indices, and agents' addresses."""

from __future__ import annotations

from itertools import permutations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rules_made import PROPERTY, agent, job_config, placement, report, status, version_of

from scheduling.actual import AGENT as ACTUAL_AGENT
from scheduling.actual import CONTAINER, METRICS, Actual
from scheduling.container import Metrics
from scheduling.desired import AGENT, JOB, PLACEMENT, Desired, Job, parse_endpoint
from scheduling.lifecycle import Phase
from scheduling.replica import Changes, Key


def rescaled(job: Job, scale: int, version: int) -> Job:
    config = msgspec.structs.replace(job.config, scale=scale)
    return Job(prefix=job.prefix, hash=config.hash(), config=config, version=version)


ONE = version_of(job_config(scale=1), 1)
BIG = rescaled(ONE, 2, 2)
TWO = version_of(job_config(scale=2), 3)


def test_a_job_is_found_by_its_prefix_and_by_its_current_hash() -> None:
    desired = Desired()
    desired.apply({(JOB, ONE.prefix): ONE})
    desired.apply({(JOB, ONE.prefix): BIG})
    assert desired.resolve(ONE.prefix) is desired.resolve(BIG.hash) is BIG
    desired.apply({(JOB, ONE.prefix): rescaled(ONE, 3, 3)})
    assert desired.resolve(BIG.hash) is None, "a hash it no longer has is free again"
    desired.apply({(JOB, ONE.prefix): None})
    assert desired.names == {}
    assert desired.resolve(ONE.prefix) is None


@pytest.mark.parametrize("order", list(permutations([(JOB, ONE.prefix), (JOB, TWO.prefix)])))
def test_a_hash_passes_from_one_version_to_another_in_one_update(order: tuple[Key, ...]) -> None:
    """BIG, with the hash of TWO, is unscheduled and TWO scheduled while a follower was away."""
    assert BIG.hash == TWO.prefix
    news: Changes = {(JOB, ONE.prefix): None, (JOB, TWO.prefix): TWO}
    desired = Desired()
    desired.apply({(JOB, ONE.prefix): BIG})
    desired.apply({key: news[key] for key in order})
    assert desired.resolve(TWO.hash) is TWO
    assert desired.names == {TWO.hash: TWO.prefix}


def test_versions_of_a_job_come_oldest_first() -> None:
    old, new = version_of(job_config(mem=1), 1), version_of(job_config(mem=2), 2)
    other = version_of(job_config(mem=1, environment="dev"), 3)
    desired = Desired()
    desired.apply({(JOB, job.prefix): job for job in (new, old, other)})
    assert desired.versions(old.config.key) == [old, new]
    desired.apply({(JOB, old.prefix): None})
    assert desired.versions(old.config.key) == [new]
    desired.apply({(JOB, new.prefix): None})
    assert desired.versions(old.config.key) == []
    assert str(old.config.key) == "search/prod/web"


JOBS = st.sampled_from([ONE, BIG, version_of(job_config(scale=3, mem=1), 4), version_of(job_config("db"), 5)])
PLACEMENTS = st.builds(
    lambda task, agents, generation: placement(
        task, *[(name, "stop") for name in sorted(agents)], generation=generation
    ),
    st.sampled_from(["web-0", "web-1"]),
    st.frozensets(st.sampled_from("abc"), min_size=1),
    st.integers(1, 3),
)
DESIRED_CHANGE = st.one_of(
    st.builds(lambda job, gone: ((JOB, job.prefix), None if gone else job), JOBS, st.booleans()),
    st.builds(lambda row, gone: ((PLACEMENT, row.task), None if gone else row), PLACEMENTS, st.booleans()),
    st.builds(
        lambda name, gone: ((AGENT, name), None if gone else agent(name)),
        st.sampled_from("abc"),
        st.booleans(),
    ),
)


@PROPERTY
@given(st.lists(DESIRED_CHANGE, max_size=20))
def test_the_indices_of_the_desired_state_are_those_of_its_tables(changes: list[tuple[Key, object]]) -> None:
    desired = Desired()
    state: dict[Key, object] = {}
    for key, value in changes:
        desired.apply({key: value})
        state[key] = value
    fresh = Desired()
    fresh.apply({key: value for key, value in state.items() if value is not None})
    assert desired.__dict__ == fresh.__dict__
    for name, tasks in desired.by_agent.items():
        rows = desired.placements.values()
        assert tasks == {row.task for row in rows if name in {copy.agent for copy in row.copies}}


REPORTS = st.builds(
    report, st.sampled_from("ab"), st.sampled_from(["web-0", "web-1"]), st.sampled_from(Phase)
)
ACTUAL_CHANGE = st.one_of(
    st.builds(
        lambda one, gone: ((CONTAINER, one.agent, one.task), None if gone else one), REPORTS, st.booleans()
    ),
    st.builds(
        lambda name, gone: ((ACTUAL_AGENT, name), None if gone else status(name)),
        st.sampled_from("ab"),
        st.booleans(),
    ),
    st.builds(
        lambda name, gone: ((METRICS, name), None if gone else {"web-0": Metrics()}),
        st.sampled_from("ab"),
        st.booleans(),
    ),
)


@PROPERTY
@given(st.lists(ACTUAL_CHANGE, max_size=20))
def test_the_indices_of_the_actual_state_are_those_of_its_tables(changes: list[tuple[Key, object]]) -> None:
    actual = Actual()
    state: dict[Key, object] = {}
    for key, value in changes:
        actual.apply({key: value})
        state[key] = value
    fresh = Actual()
    fresh.apply({key: value for key, value in state.items() if value is not None})
    assert actual.__dict__ == fresh.__dict__


def test_an_agent_that_has_not_answered_proves_nothing() -> None:
    actual = Actual()
    assert not actual.answered("a")
    actual.apply({(ACTUAL_AGENT, "a"): status("a", "connecting", answered=False)})
    assert not actual.answered("a")
    actual.apply({(ACTUAL_AGENT, "a"): status("a", "stale")})
    assert actual.answered("a")
    assert actual.report("a", "web-0") is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("host:1", "http://host:1"),
        ("127.0.0.1:65535", "http://127.0.0.1:65535"),
        ("http://Host:80/", "http://host:80"),
        ("[::1]:80", "http://[::1]:80"),
        ("http://[fe80::1]:80", "http://[fe80::1]:80"),
        ("a_b-c.d:7", "http://a_b-c.d:7"),
    ],
)
def test_an_agent_address_becomes_a_url(text: str, url: str) -> None:
    assert parse_endpoint(text) == url
    assert parse_endpoint(url) == url


@pytest.mark.parametrize(
    "text",
    [
        *("", "host", "host:", ":1", "host:0", "host:65536", "host:x", "https://host:1", "http://host"),
        *("http://host:1/api", "http://host:1?x", "http://host:1#x", "http://me@host:1", "ho st:1"),
        *("host:1\n", "[::1:80", "host:-1", "host:1:2", "ho\x00st:1", "ho\u2028st:1", "h\udc80st:1"),
    ],
)
def test_what_is_no_agent_address_is_refused_with_what_would_be_right(text: str) -> None:
    with pytest.raises(ValueError, match="is no agent address; write HOST:PORT or http://HOST:PORT"):
        parse_endpoint(text)
