"""Nobody without the cluster secret can run anything, or bring anything down, on any port of the actors."""

from __future__ import annotations

import contextlib
import hmac
import os
import pickle
import socket
import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from convention_harness import LEADER, MEMBER, leading
from system_harness import Program, command_line, job, running, wait_until

from actors.transport import SignedPickle

# Some of the sockets are only read now and then: those give no answer at all.
SOCKET_SECONDS = 0.5


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.path}",)


def _ports(program: Program) -> dict[int, str]:
    """Every port that a process of a program listens on, with its address."""
    found = {}
    for process in [psutil.Process(program.process.pid), *program.tree()]:
        with contextlib.suppress(psutil.Error):
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found[connection.laddr.port] = connection.laddr.ip
    return found


def _alive(program: Program) -> set[int]:
    return {process.pid for process in program.tree() if command_line(process)}


def _frame(body: bytes) -> bytes:
    return b"%d>" % len(body) + body


def _send(port: int, data: bytes, address: str = "127.0.0.1") -> bytes:
    """Send this, and return what comes back before the other side closes or is silent."""
    answer = b""
    stranger = socket.create_connection((address, port), timeout=SOCKET_SECONDS)
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


def _signed(secret: bytes, value: object, age_seconds: float = 0.0) -> bytes:
    """What an actor would have sent so long ago: signature, time, pickle."""
    body = struct.pack(">d", time.time() - age_seconds) + pickle.dumps(value)
    return hmac.digest(secret, body, "sha256") + body


def _attacks_on_a_signature(trap: Path, secret: bytes) -> Iterator[tuple[str, bytes]]:
    """What somebody may try who has recorded messages that were signed with the right secret."""
    valid = _signed(secret, ("somebody", Bomb(trap)))
    for place in (0, 31, 32, 39, 40, len(valid) // 2, len(valid) - 1):
        changed = bytearray(valid)
        changed[place] ^= 1
        yield f"one bit of byte {place} changed", _frame(bytes(changed))
    yield "an old message", _frame(_signed(secret, ("somebody", Bomb(trap)), age_seconds=600))
    yield "one from the future", _frame(_signed(secret, ("somebody", Bomb(trap)), age_seconds=-600))
    other = _signed(secret, ("somebody", "something harmless"))
    yield "the signature of another message", _frame(other[:32] + valid[32:])
    yield "the end of it missing", _frame(valid[:-1])
    yield "more than was signed", _frame(valid + b".")
    yield "only a part of what was announced", _frame(valid)[:-1]
    yield "only a signature", _frame(valid[:32])
    yield "a part of a signature", _frame(valid[:16])


def test_strangers_join_nothing_run_nothing_and_crash_nothing_on_any_host(tmp_path: Path) -> None:
    """Every port of a leader and of a member, with what somebody may have recorded there, too."""
    trap = tmp_path / "trap"
    with leading(tmp_path) as convention, convention.member() as member:
        convention.machine_on(member)
        leader = convention.scheduler
        before = [_alive(program) for program in (leader, member)]
        doors = {LEADER: set(_ports(leader)), MEMBER: set(_ports(member))}
        web = int(leader.url.rpartition(":")[2])
        doors[LEADER].discard(web)
        assert {*_ports(leader).values()} == {LEADER, "127.0.0.1"}, "its own address; HTTP on loopback"
        assert {*_ports(member).values()} == {MEMBER}
        assert len(doors[MEMBER]) >= 4, "admin, logger, flock, state machine"

        secret = (tmp_path / "secret").read_text().strip().encode()
        attacks = [data for _, data in (*_attacks(trap), *_attacks_on_a_signature(trap, secret))]
        targets = [(address, port) for address, ports in doors.items() for port in ports]
        with ThreadPoolExecutor(len(targets)) as pool:
            list(pool.map(lambda door: [_send(door[1], data, door[0]) for data in attacks], targets))
        slow = [socket.create_connection(door, timeout=5) for door in targets for _ in range(20)]
        for stranger in slow:
            stranger.sendall(b"100>")

        assert not trap.exists()
        assert _alive(leader) >= before[0], "no process of the leader died of it"
        assert _alive(member) >= before[1], "nor of the member"
        assert convention.member_links() == ["connected"], "nobody joined, nobody was thrown out"
        wait_until(lambda: convention.links() == ["connected"], "its agent is followed", 30)
        assert leader.schedule(job("after", 2)).status_code == 202
        leader.wait_running("after", 2, 30)
        assert not trap.exists()
        assert "Traceback" not in leader.said + member.said
        for stranger in slow:
            stranger.close()


def test_the_trap_springs_for_who_has_the_secret(tmp_path: Path) -> None:
    """So it is the signature that keeps it shut: what is refused above is refused for what was changed."""
    SignedPickle(b"x" * 32).loads(_signed(b"x" * 32, ("somebody", Bomb(tmp_path / "trap"))))
    assert (tmp_path / "trap").exists()


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
