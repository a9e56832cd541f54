"""harpoonctl against the scheduler's own web, with a cluster in memory behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctl_fake_scheduler import ROOT
from ctl_web_process import run, web_process

AGENTS = ("n1", "n2")
HELLO = str(ROOT / "examples" / "hello.json")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A web process of its own for this module."""
    with web_process() as url:
        yield url


def test_a_job_from_start_to_end(endpoint: str) -> None:
    done = run(endpoint, "schedule", HELLO, "--wait")
    assert done.returncode == 0, done.stderr
    assert "3 of 3 running" in done.stderr
    again = run(endpoint, "schedule", HELLO, "-o", "json")
    assert (again.returncode, json.loads(again.stdout)["result"]) == (0, "unchanged")
    name = json.loads(again.stdout)["hash"]
    assert "3 of 3 running" in run(endpoint, "jobs").stdout
    for means in ("hello", name, "examples/dev/hello"):
        assert f"{name}-2" in run(endpoint, "job", means).stdout
        found = [run(endpoint, "-o", "json", "ps", means, "--agent", name) for name in AGENTS]
        assert sum(len(json.loads(done.stdout)["tasks"]) for done in found) == 3
    told = json.loads(run(endpoint, "-o", "json", "agents").stdout)["agents"]
    assert [one["name"] for one in told] == [*AGENTS]
    assert name in run(endpoint, "registry").stdout
    assert "scheduler " in run(endpoint, "version").stdout
    done = run(endpoint, "unschedule", name, "--wait")
    assert done.returncode == 0, done.stderr
    assert run(endpoint, "ps").stdout == "no tasks\n"
    done = run(endpoint, "unschedule", HELLO)
    assert done.returncode == 1
    assert "examples/dev/hello" in done.stderr


def test_what_the_scheduler_finds_wrong_is_told(endpoint: str) -> None:
    config = json.loads(Path(HELLO).read_text())
    bad = {**config, "scale": 0, "resources": {**config["resources"], "gpu": 1}}
    done = run(endpoint, "schedule", "-", stdin=json.dumps(bad))
    assert done.returncode == 1
    assert "gpu" in done.stderr
    done = run(endpoint, "schedule", "-", stdin=json.dumps({**config, "scale": 0, "restart": "x"}))
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert [line.startswith("harpoonctl: standard input: ") for line in lines] == [True, True]
    assert "scale is 0; it must be from 1 to 1000" in lines[0]
    assert 'restart is "x"' in lines[1]


def test_a_job_is_changed_only_at_the_version_that_was_seen(endpoint: str, tmp_path: Path) -> None:
    file = tmp_path / "job.json"
    file.write_text(json.dumps({**json.loads(Path(HELLO).read_text()), "job": "seen"}))
    assert run(endpoint, "schedule", str(file)).returncode == 0
    shown = json.loads(run(endpoint, "job", "seen", "-o", "json").stdout)
    for words in (["schedule", str(file)], ["unschedule", "seen"]):
        stale = run(endpoint, *words, "--if-version", str(shown["version"] + 1000))
        assert (stale.returncode, "is at version" in stale.stderr) == (1, True), stale.stderr
    by_hash = run(endpoint, "unschedule", shown["versions"][0]["hash"], "--if-version", "1")
    assert (by_hash.returncode, "names its version already" in by_hash.stderr) == (1, True)
    assert run(endpoint, "unschedule", "seen", "--if-version", str(shown["version"])).returncode == 0
