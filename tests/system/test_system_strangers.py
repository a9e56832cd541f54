"""Nobody without the cluster secret can run anything, or bring anything down, on any port of the actors."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from system_harness import Scheduler, command_line, job, running

from actors.transport import SignedPickle

# Some of the sockets are only read now and then: those give no answer at all.
SOCKET_SECONDS = 0.5


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def _ports(scheduler: Scheduler) -> dict[int, str]:
    """Every port that a process of the scheduler listens on, with its address."""
    found = {}
    for process in [psutil.Process(scheduler.process.pid), *scheduler.tree()]:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = connection.laddr.ip
    return found


def _alive(scheduler: Scheduler) -> set[int]:
    return {process.pid for process in scheduler.tree() if command_line(process)}


def _frame(body: bytes) -> bytes:
    return b"%d>" % len(body) + body


def _send(port: int, data: bytes) -> bytes:
    """Send this, and return what comes back before the other side closes or is silent."""
    answer = b""
    stranger = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_SECONDS)
    with stranger, contextlib.suppress(OSError):
        stranger.sendall(data)
        stranger.shutdown(socket.SHUT_WR)
        while part := stranger.recv(4096):
            answer += part
    return answer


def _attacks(trap: Path) -> Iterator[tuple[str, bytes]]:
    forged = pickle.dumps(("somebody", Bomb(trap)))
    other_secret = SignedPickle(b"x" * 64).dumps(("somebody", Bomb(trap)))
    yield "a forged pickle", _frame(forged)
    yield "a forged pickle behind an empty signature", _frame(bytes(32) + forged)
    yield "a pickle signed with another secret", _frame(other_secret)
    yield "a pickle without a frame", forged
    yield "rubbish", os.urandom(100_000)
    yield "rubbish in a frame", _frame(os.urandom(5000))
    yield "a huge length", b"99999999999999999999>" + forged
    yield "a length just over the limit", b"%d>" % (256 * 1024 * 1024 + 1) + forged
    yield "a negative length", b"-5>" + forged
    yield "a length of zero", b"0>" + forged
    yield "a length that is no number", b"0x10>" + forged
    yield "a length without an end", b"1" * 100_000
    yield "a truncated frame", b"1000>" + forged
    yield "HTTP", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    yield "nothing", b""


def test_strangers_run_nothing_and_the_system_goes_on(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    with running(["dev"], tmp_path) as scheduler:
        scheduler.schedule(job("before", 2))
        scheduler.wait_running("before", 2)
        before = _alive(scheduler)
        ports = _ports(scheduler)
        assert len(ports) >= 9, "registry, scheduler, transformer, shepherd, flock, state machine, …"
        assert set(ports.values()) == {"127.0.0.1"}, "loopback only"

        with ThreadPoolExecutor(len(ports)) as pool:
            list(pool.map(lambda port: [_send(port, data) for _, data in _attacks(trap)], ports))
        idle = [socket.create_connection(("127.0.0.1", port), timeout=5) for port in ports for _ in range(20)]
        for stranger in idle:
            stranger.sendall(b"100>")

        assert not trap.exists()
        assert _alive(scheduler) >= before, "no process died of it"
        assert scheduler.schedule(job("after", 2)).status_code == 202
        scheduler.wait_running("after", 2)
        assert not trap.exists()
        assert "Traceback" not in scheduler.said
        for stranger in idle:
            stranger.close()


def test_the_trap_would_spring_if_it_were_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


def test_the_secret_is_nobody_elses_to_read(tmp_path: Path) -> None:
    with running(["serve", "--data", "data"], tmp_path) as scheduler:
        secret = tmp_path / "data" / "secret"
        assert secret.stat().st_mode & 0o777 == 0o600
        text = secret.read_text().strip()
        assert len(text) == 64
        assert all(text not in command_line(process) for process in scheduler.tree())
        assert text not in scheduler.said


@pytest.mark.parametrize("mode", [0o644, 0o640])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    from system_harness import run_to_end

    data = tmp_path / "data"
    data.mkdir()
    (data / "secret").write_text("0" * 64)
    (data / "secret").chmod(mode)
    done = run_to_end(["actors.main", "serve", "--listen", "127.0.0.1:0", "--data", str(data)], tmp_path)
    assert done.returncode == 1
    assert "chmod 600" in done.stderr
