"""The process of an actor: a lean fork that ends as it should, and begins with few functions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from actors.child_start import ForkedProcess


def _ends(code: object) -> Callable[[], None]:
    def target() -> None:
        sys.exit(code)  # type: ignore[arg-type]  # whatever a program may say

    return target


def _fails() -> None:
    raise ValueError("no good")


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("target", "code"),
    [(_ends(0), 0), (_ends(None), 0), (_ends(7), 7), (_ends("why"), 1), (_fails, 1), (_killed, -9)],
    ids=["0", "none", "7", "text", "exception", "killed"],
)
def test_its_exit_code(target: Callable[[], None], code: int, capfd: pytest.CaptureFixture[str]) -> None:
    process = ForkedProcess(target)
    process.start()
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    status = ended.si_status
    assert (-status if ended.si_code == os.CLD_KILLED else status) == code
    assert not process.is_alive()
    assert not psutil.pid_exists(process.pid), "it was reaped"
    assert ("ValueError: no good" in capfd.readouterr().err) == (target is _fails)


def test_it_is_alive_until_it_ends() -> None:
    reader, writer = os.pipe()

    def target() -> None:
        os.read(reader, 1)

    process = ForkedProcess(target)
    process.start()
    assert process.is_alive()
    os.write(writer, b"!")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not process.is_alive()
    for end in (reader, writer):
        os.close(end)


def test_before_its_first_line_an_actor_runs_little(tmp_path: Path) -> None:
    """What it calls there copies memory, in each of a fleet's processes."""
    program = Path(__file__).with_name("child_start_program.py")
    done = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{program.parents[2]}"},
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["standard_input"] == os.devnull
    assert "TCPTransport.py" in told["files"], "it was looked at"
    assert not {"inspect.py", "process.py", "util.py", "warnings.py", "os.py"} & set(told["files"])
    assert told["functions"] < 120
