"""What keeps a host from joining is said in one line, and nothing of it is left."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from convention_harness import LEADER, MEMBER, leading
from system_harness import REPOSITORY, Program, leftovers, run_to_end, wait_until

from actors.system import hold_port, port_of

LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING member can't reach the leader at ")
# The program, as of another version.
OLD_PROGRAM = """
import actors.hosts
actors.hosts.version = lambda: "0.0.1"
from actors.main import main
main()
"""


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A secret."""
    path = tmp_path / "secret"
    assert run_to_end(["actors.main", "secret", str(path)], tmp_path).returncode == 0
    return path


def refused(directory: Path, *flags: str) -> str:
    """Run `join` with these; it must end with one line on stderr, which is returned."""
    done = run_to_end(["actors.main", "join", "--data", "data", *flags], directory)
    assert done.returncode == 1, done.stderr
    assert leftovers(directory) == []
    (line,) = done.stderr.splitlines()
    assert line.startswith("harpoon-scheduler: ")
    return line


@contextlib.contextmanager
def joining(directory: Path, *flags: str) -> Iterator[Program]:
    """`join` with these flags; nothing of it may be left."""
    program = Program(["actors.main", "join", "--data", "data", *flags], directory)
    try:
        yield program
    finally:
        program.process.kill()
        wait_until(lambda: not leftovers(directory), "no process is left")


def test_a_secret_is_made_once_and_is_nobody_elses_to_read(tmp_path: Path, secret: Path) -> None:
    assert secret.stat().st_mode & 0o777 == 0o600
    before = secret.read_text()
    again = run_to_end(["actors.main", "secret", str(secret)], tmp_path)
    assert (again.returncode, secret.read_text()) == (1, before)
    assert f"{secret} is there already" in again.stderr
    nowhere = run_to_end(["actors.main", "secret", str(tmp_path / "no" / "where")], tmp_path)
    assert nowhere.returncode == 1
    assert "can't be written: No such file or directory" in nowhere.stderr
    assert [path.name for path in tmp_path.iterdir() if "secret" in path.name] == ["secret"]


@pytest.mark.parametrize("program", ["join", "serve"])
def test_a_shared_secret_must_be_there_and_private(tmp_path: Path, secret: Path, program: str) -> None:
    flags = [program, "--data", "data", *(["--leader", "127.0.0.2:1"] if program == "join" else [])]
    for path, said in ((tmp_path / "none", "make one with: harpoon-scheduler secret"), (secret, "chmod 600")):
        secret.chmod(0o640)
        done = run_to_end(["actors.main", *flags, "--secret-file", str(path)], tmp_path)
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("program", ["join", "serve"])
@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "fifo"])
def test_a_secret_that_is_no_file_is_one_line(
    tmp_path: Path, program: str, make: Callable[[Path, int], None]
) -> None:
    make(tmp_path / "odd", 0o600)
    flags = [program, "--data", "data", *(["--leader", "127.0.0.2:1"] if program == "join" else [])]
    done = run_to_end(["actors.main", *flags, "--secret-file", str(tmp_path / "odd")], tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, f"the secret {tmp_path / 'odd'} is no file" in line) == (1, True), line


def test_what_a_member_needs(tmp_path: Path, secret: Path) -> None:
    assert "needs a leader; give it with --leader" in refused(tmp_path, "--secret-file", str(secret))
    assert "needs a secret_file; give it with --secret-file" in refused(tmp_path, "--leader", "127.0.0.2:1")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--leader", "nonsense"], "leader = 'nonsense' (the flags): it must be the HOST:PORT"),
        (["--leader", "no-such-host.invalid:1"], "no-such-host.invalid"),
        (["--leader", "127.0.0.1:1"], "have the address 127.0.0.1 themselves"),
        (["--leader", "127.0.0.2:1", "--actor-address", "192.0.2.1"], "can't listen on 192.0.2.1:0"),
        (["--leader", "127.0.0.2:1", "--actor-address", "x"], "actor_address = 'x'"),
        (["--leader", "127.0.0.2:1", "--flocks", "0"], "flocks = 0 (the flags): it must be from 1 to"),
        (["--leader", "127.0.0.2:1", "--zone", "z" * 300], "zone ="),
    ],
)
def test_wrong_flags(tmp_path: Path, secret: Path, flags: list[str], said: str) -> None:
    assert said in refused(tmp_path, "--secret-file", str(secret), *flags)


def test_a_port_in_use(tmp_path: Path, secret: Path) -> None:
    with socket.create_server((MEMBER, 0)) as taken:
        port = taken.getsockname()[1]
        own = ["--actor-address", MEMBER, "--actor-port", str(port)]
        line = refused(tmp_path, "--secret-file", str(secret), "--leader", f"{LEADER}:1", *own)
    assert f"{MEMBER}:{port}" in line


def test_something_else_answers(tmp_path: Path, secret: Path) -> None:
    """A server that greets in its own way, as mail servers do."""
    with socket.create_server((LEADER, 0)) as server:
        leader = ["--leader", f"{LEADER}:{server.getsockname()[1]}", "--actor-address", MEMBER]
        with joining(tmp_path, *leader, "--secret-file", str(secret)) as program:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"220 mail.example.com ESMTP, ready for everything you have\r\n")
                assert program.process.wait(20) == 1
    assert "is no leader: that is no length of a message" in program.said


def test_a_leader_that_is_not_there_yet_is_waited_for(tmp_path: Path, secret: Path) -> None:
    held = hold_port(LEADER)
    port = port_of(held)
    flags = ["--leader", f"{LEADER}:{port}", "--secret-file", str(secret), "--actor-address", MEMBER]
    with held, joining(tmp_path, *flags) as program:
        wait_until(lambda: "Connection refused; trying again" in program.said, "it says so")
        with socket.create_server((LEADER, port)):  # which answers nothing
            wait_until(lambda: "timed out; trying again" in program.said, "and so")
        assert len(program.lines) == 2, "each once"
        assert all(LOGGED.match(line) for line in program.lines), program.said
        code, seconds = program.end(signal.SIGTERM)
        assert (code, seconds < 5.0) == (0, True), (code, seconds)


def test_the_leader_has_another_secret(tmp_path: Path) -> None:
    with leading(tmp_path) as convention:
        (tmp_path / "stranger").mkdir()
        other = tmp_path / "stranger" / "secret"
        assert run_to_end(["actors.main", "secret", str(other)], tmp_path).returncode == 0
        leader = ["--leader", f"{LEADER}:{convention.port}", "--actor-address", MEMBER]
        line = refused(tmp_path / "stranger", *leader, "--secret-file", str(other))
        assert f"the leader at {LEADER}:{convention.port} has another secret" in line
        assert convention.member_links() == []


def test_the_leader_runs_another_version(tmp_path: Path) -> None:
    with leading(tmp_path) as convention:
        directory = tmp_path / "old"
        directory.mkdir()
        leader = ["--leader", f"{LEADER}:{convention.port}", "--actor-address", MEMBER]
        done = subprocess.run(
            [sys.executable, "-c", OLD_PROGRAM, "join", *leader, "--secret-file", "../secret"],
            cwd=directory,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert line.endswith("and this host 0.0.1; install the same version")
        assert convention.member_links() == []


def test_a_member_is_no_leader(tmp_path: Path) -> None:
    with leading(tmp_path) as convention:
        held = hold_port(MEMBER)
        port = port_of(held)
        with held, convention.member("--actor-port", str(port)):
            directory = tmp_path / "lost"
            directory.mkdir()
            flags = ["--leader", f"{MEMBER}:{port}", "--actor-address", "127.0.0.4"]
            line = refused(directory, *flags, "--secret-file", str(tmp_path / "secret"))
            assert line.endswith(f"is a member itself; its leader is {LEADER}:{convention.port}")
