"""What a newcomer sees of `make run`: the first jobs become real, and where to look at them.

`harpoon-scheduler dev --schedule FILE` runs it as `python -m ctl.welcome URL FILE…` beside itself.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ctl.client import Client
from ctl.console import console
from ctl.errors import HarpoonctlError
from ctl.files import read_job_file
from ctl.main import run
from ctl.session import Session
from ctl.shapes import Tasks

WAIT = "2m"
OPEN_SECONDS = 10.0


def welcome(url: str, files: Sequence[str]) -> int:
    """Schedule the files one after the other with live progress, then print every URL; the exit code."""
    session = Session(Client(url), "table", console(sys.stdout), console(sys.stderr))
    for file in files:
        code = run(["--endpoint", url, "schedule", file, "--wait", "--timeout", WAIT])
        if code != 0:
            return code
    try:
        for file in files:
            _show_urls(session, str(read_job_file(file).key))
    except HarpoonctlError as error:
        session.complain(*error.lines)
        return error.exit_code
    session.line("")
    session.line(f"dashboard and API  {url}/   {url}/docs   {url}/api/v1/jobs")
    session.line(f"on the command line  {_harpoonctl()} --endpoint {url} ps")
    session.line("Ctrl-C ends it all")
    return 0


def _show_urls(session: Session, key: str) -> None:
    tasks = session.client.get("api", "v1", "tasks", query={"job": key}).read_as(Tasks)
    for task in tasks.tasks:
        host = urlsplit(task.endpoint or "").hostname or "127.0.0.1"
        for port in (task.ports or {}).values():
            _wait_open(host, port)
            session.line(f"{task.id}  http://{host}:{port}/")


def _harpoonctl() -> str:
    """How to call harpoonctl from here: a newcomer's shell does not find what is in .venv."""
    beside = Path(sys.executable).with_name("harpoonctl")
    if shutil.which("harpoonctl") or not beside.exists():
        return "harpoonctl"
    return os.path.relpath(beside)


def _wait_open(host: str, port: int) -> None:
    """A process that runs has not always begun to listen: print no URL that would be refused."""
    give_up_at = time.monotonic() + OPEN_SECONDS
    while time.monotonic() < give_up_at:
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return


if __name__ == "__main__":
    try:
        sys.exit(welcome(sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
