"""harpoonctl against the scheduler's own web, with a cluster in memory behind it."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, ROOT, command, environment

HELLO = str(ROOT / "examples" / "hello.json")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A web process on a port that the kernel chose."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        here = str(Path(__file__).parent)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "gunicorn", "-k", "asgi", "-b", f"fd://{listening.fileno()}"),
                *("--log-level", "error", "--no-control-socket", "ctl_memory_app:app()"),
            ],
            pass_fds=[listening.fileno()],
            env={**environment(), "PYTHONPATH": os.pathsep.join([str(ROOT), here])},
        )
        try:
            _wait_until_ready(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(DEADLINE_SECONDS)


def _wait_until_ready(port: int) -> None:
    # The socket listens already, so this is held until the worker is there.
    deadline = time.monotonic() + DEADLINE_SECONDS
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=deadline - time.monotonic())
    connection.request("GET", "/health/live")
    assert connection.getresponse().status == 200
    connection.close()


def run(endpoint: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(endpoint, *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=DEADLINE_SECONDS,
    )


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
        assert len(json.loads(run(endpoint, "-o", "json", "ps", means, "--agent", "n1").stdout)["tasks"]) == 3
    assert json.loads(run(endpoint, "-o", "json", "agents").stdout)["agents"][0]["name"] == "n1"
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
