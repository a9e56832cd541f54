"""A web process on a cluster in memory, and harpoonctl run against it."""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctl_fake_scheduler import DEADLINE_SECONDS, ROOT, command, environment


@contextmanager
def web_process() -> Iterator[str]:
    """Its URL, on a port that the kernel chose."""
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
    """harpoonctl, to its end."""
    return subprocess.run(
        command(endpoint, *arguments),
        input=stdin,
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        timeout=DEADLINE_SECONDS,
    )
