"""Bad input over real HTTP: a 4xx with field, value and what would be right; nothing changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from system_harness import Scheduler, job, running


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with running(["serve"], tmp_path_factory.mktemp("bad-input")) as program:
        yield program


def _changed(**changes: Any) -> bytes:
    return json.dumps({**job("bad", 1), **changes}).encode()


RESOURCES = {"mem": 1, "cpu": 1, "fd": 1}
# What is sent, what the answer must name, and whether v0 refuses it too (it ignores unknown fields).
CASES = {
    "an unknown field": (_changed(colour="red"), ["colour"], False),
    "a wrong type": (_changed(scale="many"), ["scale", "many"], True),
    "a wrong type inside": (
        _changed(resources={**RESOURCES, "mem": "lots"}),
        ["resources.mem", "lots"],
        True,
    ),
    "scale 0": (_changed(scale=0), ["scale", "0", "1 to 1000"], True),
    "scale 1001": (_changed(scale=1001), ["scale", "1001", "1 to 1000"], True),
    "cpu 0": (_changed(resources={**RESOURCES, "cpu": 0}), ["resources.cpu", "0"], True),
    "cpu below 0": (_changed(resources={**RESOURCES, "cpu": -1.5}), ["resources.cpu", "-1.5"], True),
    "a job name with a slash": (_changed(job="a/b"), ["job", "a/b"], True),
    "invalid UTF-8": (_changed().replace(b"test", b"t\xffst"), ["UTF-8"], True),
    "deep nesting": (b'{"env":' + b"[" * 100_000 + b"]" * 100_000 + b"}", ["nest"], True),
    "no JSON": (b"{scale: 1}", ["JSON"], True),
    "an empty body": (b"", ["body"], True),
    "a 20 MB body": (b'{"job":"' + b"a" * 20_000_000 + b'"}', ["20000010", "1048576"], True),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_it_is_refused_with_what_would_be_right(scheduler: Scheduler, version: str, case: str) -> None:
    body, named, refused_by_v0 = CASES[case]
    path = "/api/v0/schedule" if version == "v0" else "/api/v1/jobs/test/system/bad"
    before = scheduler.get("/api/v0/registry").content

    answer = requests.put(scheduler.url + path, data=body, timeout=20)

    if version == "v0" and not refused_by_v0:
        assert answer.status_code == 202
        assert requests.put(f"{scheduler.url}/api/v0/unschedule", data=body, timeout=20).status_code == 202
    else:
        assert 400 <= answer.status_code < 500, answer.text
        for word in named:
            assert word in answer.text, answer.text
    assert scheduler.get("/api/v0/registry").content == before
    assert "Traceback" not in scheduler.said


def test_the_same_job_twice(scheduler: Scheduler) -> None:
    same = job("twice", 1)
    path = f"{scheduler.url}/api/v1/jobs/test/system/twice"
    assert requests.put(path, json=same, timeout=20).status_code == 201
    assert scheduler.schedule(same).status_code == 409
    again = requests.put(path, json=same, timeout=20)
    assert again.status_code == 200
    assert again.json()["result"] == "unchanged"
    assert requests.delete(path, timeout=20).status_code == 202
    assert scheduler.get("/api/v1/jobs/test/system/twice").status_code == 404
