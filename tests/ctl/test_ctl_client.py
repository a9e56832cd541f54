"""HTTP: what each kind of answer, and of none, becomes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from ctl_fake_scheduler import FakeScheduler, Reply, ok, problem, stream

from config.bounds import ATTEMPTS
from ctl.client import Client, endpoint_url
from ctl.errors import HarpoonctlError, RefusedError, UnreachableError, UserMistakeError

PATH = "/api/v1/jobs/p/e/j"


@pytest.fixture
def scheduler() -> Iterator[FakeScheduler]:
    with FakeScheduler() as server:
        yield server


def client(scheduler: FakeScheduler, timeout_seconds: float = 10.0) -> Client:
    return Client(scheduler.endpoint, timeout_seconds=timeout_seconds, pause=lambda _: None)


def change(one: Client) -> bytes:
    return one.change("PUT", *PATH.strip("/").split("/"), body=b"{}").body


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://h:1/", "http://h:1"),
        ("h:4444", "http://h:4444"),
        ("https://h", "https://h"),
        ("[::1]:80", "http://[::1]:80"),
    ],
)
def test_endpoints_are_read_generously(text: str, url: str) -> None:
    assert endpoint_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://h", "http://", "http://h:99999", "http://h:x", "http://[::1"])
def test_what_is_no_endpoint_is_a_mistake(text: str) -> None:
    with pytest.raises(UserMistakeError, match="is no endpoint"):
        endpoint_url(text)


def test_a_lost_answer_is_asked_for_again_under_the_same_key(scheduler: FakeScheduler) -> None:
    scheduler.on(
        "PUT", PATH, Reply(drop=True), problem(503, "the outcome is unknown"), ok({"result": "created"})
    )
    assert change(client(scheduler)) == b'{"result": "created"}'
    keys = [request.headers["idempotency-key"] for request in scheduler.asked("PUT", PATH)]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    change(client(scheduler))
    assert scheduler.asked("PUT", PATH)[3].headers["idempotency-key"] != keys[0]


def test_a_late_answer_is_asked_for_again(scheduler: FakeScheduler) -> None:
    scheduler.on("PUT", PATH, Reply(gate=threading.Event()), ok({}))
    assert change(client(scheduler, timeout_seconds=0.2)) == b"{}"


def test_a_change_that_stays_unanswered_has_an_unknown_outcome(scheduler: FakeScheduler) -> None:
    scheduler.on("PUT", PATH, problem(503, "the registry can't be reached", retry_after="1"))
    with pytest.raises(UnreachableError) as caught:
        change(client(scheduler))
    assert caught.value.lines[0] == "the registry can't be reached"
    assert "outcome is unknown" in caught.value.lines[1]
    assert len(scheduler.asked("PUT", PATH)) == ATTEMPTS


def test_the_scheduler_says_when_to_come_back(scheduler: FakeScheduler) -> None:
    scheduler.on("PUT", PATH, problem(503, "busy", retry_after="3"), ok({}))
    pauses: list[float] = []
    change(Client(scheduler.endpoint, pause=pauses.append))
    assert pauses == [3.0]


def test_nobody_listening_is_told_at_once() -> None:
    with socket.socket() as held:  # bound but not listening: refused for sure
        held.bind(("127.0.0.1", 0))
        pauses: list[float] = []
        endpoint = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=r"can't reach the scheduler at .*: connection refused"):
            change(Client(endpoint, pause=pauses.append))
        assert not pauses


def test_a_refusal_is_final_and_told_line_by_line(scheduler: FakeScheduler) -> None:
    wrong: list[dict[str, object]] = [
        {"field": "scale", "value": 0, "expected": "it must be from 1 to 1000"},
        {"field": "resources.gpu", "expected": "there is no such field"},
    ]
    scheduler.on("PUT", PATH, problem(400, "2 problems", wrong))
    with pytest.raises(RefusedError) as caught:
        change(client(scheduler))
    assert caught.value.lines == (
        "scale is 0; it must be from 1 to 1000",
        "resources.gpu: there is no such field",
    )
    assert len(scheduler.requests) == 1


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (problem(404, "p/e/j is not scheduled"), RefusedError, "p/e/j is not scheduled"),
        (ok({"status_code": 404, "msg": "x not scheduled"}, 404), RefusedError, "x not scheduled"),
        (Reply(status=418, body=b"<html>"), RefusedError, "HTTP 418 I'm a Teapot"),
        (Reply(status=499), RefusedError, "HTTP 499"),
        (Reply(status=502, body=b"<html>"), UnreachableError, "HTTP 502 Bad Gateway"),
        (Reply(status=302, headers={"Location": "http://h/"}), UnreachableError, "like a Harpoon scheduler"),
        (Reply(body=b"[1", length=99), UnreachableError, "broke"),
        (Reply(gate=threading.Event()), UnreachableError, "no answer from the scheduler at .*: timed out"),
        (Reply(drop=True), UnreachableError, "no answer from the scheduler"),
    ],
)
def test_what_is_no_good_answer(
    scheduler: FakeScheduler, reply: Reply, kind: type[HarpoonctlError], said: str
) -> None:
    scheduler.on("GET", PATH, reply)
    with pytest.raises(kind, match=said):
        client(scheduler, timeout_seconds=0.5).get(*PATH.strip("/").split("/"))


def test_an_answer_without_end_is_given_up(scheduler: FakeScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctl.client.LARGEST_ANSWER_BYTES", 10)
    scheduler.on("GET", "/x", Reply(body=b"[" + b" " * 8 + b"]"), Reply(body=b"[" + b" " * 9 + b"]"))
    assert client(scheduler).get("x").json() == []
    with pytest.raises(UnreachableError, match="more than 10 bytes"):
        client(scheduler).get("x")


def test_another_kind_of_server_is_told_apart(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", "/x", Reply(body=b"<html>"))
    with pytest.raises(UnreachableError, match="does not answer like a Harpoon scheduler"):
        client(scheduler).get("x").json()


def test_an_answer_that_trickles_has_a_deadline(scheduler: FakeScheduler) -> None:
    class Trickle(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            return bool(super().wait(0.02)) or True

    scheduler.on("GET", "/x", stream(*[piece for _ in range(2000) for piece in (b" ", Trickle())]))
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="did not finish its answer in time"):
        client(scheduler, timeout_seconds=0.3).get("x")
    assert time.monotonic() - began < 5


def test_names_are_quoted_in_paths(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", "/api/a%2F%3Fb", ok({}))
    client(scheduler).get("api", "a/?b", query={"job": "x&y", "agent": None})
    assert scheduler.requests[0].query == {"job": "x&y"}


def test_a_stream_gives_pieces_as_they_come(scheduler: FakeScheduler) -> None:
    gate = threading.Event()
    scheduler.on("GET", "/s", stream(b"one", gate, b"two"))
    with client(scheduler).stream("s", silence_seconds=10) as pieces:
        assert next(pieces) == b"one"
        gate.set()
        assert b"".join(pieces) == b"two"


def test_a_stream_that_breaks_or_falls_silent_says_so(scheduler: FakeScheduler) -> None:
    scheduler.on("GET", "/s", stream(b"one", cut=True), stream(b"one", threading.Event()))
    for said in ("broke", "timed out"):
        with (
            client(scheduler).stream("s", silence_seconds=0.2) as pieces,
            pytest.raises(UnreachableError, match=said),
        ):
            list(pieces)
