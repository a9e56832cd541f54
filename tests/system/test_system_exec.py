"""`harpoonctl exec` through scheduler and agent: in a pipe, on a terminal, and whatever ends first."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from system_harness import REPOSITORY, Scheduler, command_line, job, running, wait_until

DEADLINE_SECONDS = 30.0


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scheduler]:
    with running(["dev"], tmp_path_factory.mktemp("exec")) as scheduler:
        scheduler.schedule(job("web"))
        scheduler.wait_running("web", 1)
        yield scheduler


def task_of(scheduler: Scheduler) -> str:
    [task] = scheduler.statuses("web")
    return task


def words(scheduler: Scheduler, *rest: str, task: str = "") -> list[str]:
    task = task or task_of(scheduler)
    return [
        sys.executable,
        "-m",
        "ctl.main",
        "--endpoint",
        scheduler.url,
        "exec",
        *rest[:-1],
        task,
        "--",
        "sh",
        "-c",
        rest[-1],
    ]


def started(scheduler: Scheduler, *rest: str, **options: Any) -> subprocess.Popen[bytes]:
    """`harpoonctl exec [OPTIONS] TASK -- sh -c SCRIPT` in pipes."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen(words(scheduler, *rest), cwd=REPOSITORY, **streams)


def run(scheduler: Scheduler, *rest: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    process = started(scheduler, *rest)
    out, err = process.communicate(stdin, DEADLINE_SECONDS)
    return process.returncode, out, err


def commands(scheduler: Scheduler) -> list[psutil.Process]:
    """What keeps commands that run in tasks."""
    return [each for each in scheduler.tree() if "agent/enter.py" in command_line(each)]


def test_in_a_pipe(scheduler: Scheduler) -> None:
    assert run(scheduler, "cat; echo two >&2; exit 42", stdin=b"one\n") == (42, b"one\n", b"two\n")
    content = os.urandom(1_000_000)
    code, out, _ = run(scheduler, "cat", stdin=content)
    assert (code, out == content) == (0, True)
    assert run(scheduler, "--no-stdin", "cat; kill -TERM $$", stdin=b"one\n") == (128 + 15, b"", b"")
    assert any(
        f"INFO exec '127.0.0.1' runs 'sh' in {task_of(scheduler)} on " in line for line in scheduler.lines
    )


def test_what_is_not_possible_has_a_line_and_an_exit_code(scheduler: Scheduler) -> None:
    endpoint = [sys.executable, "-m", "ctl.main", "--endpoint", scheduler.url, "exec"]
    for rest, code, told in [
        ([task_of(scheduler), "--", "nosuch"], 127, b"harpoonctl: nosuch was not found\n"),
        (
            ["nobody-0", "--", "true"],
            1,
            b"harpoonctl: there is no task 'nobody-0'; /api/v1/tasks lists the tasks\n",
        ),
        (
            ["-t", task_of(scheduler), "--", "true"],
            1,
            b"harpoonctl: stdin and stdout are no terminal: leave out -t",
        ),
        ([task_of(scheduler)], 1, b"harpoonctl: Missing argument"),
    ]:
        done = subprocess.run([*endpoint, *rest], cwd=REPOSITORY, capture_output=True, check=False, input=b"")
        assert (done.returncode, done.stderr[: len(told)]) == (code, told)


class Terminal:
    """harpoonctl on a terminal of its own, which is `screen`."""

    def __init__(self, scheduler: Scheduler, script: str, rows: int = 24, columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(self.slave)
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words(scheduler, script)],
            cwd=REPOSITORY,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**os.environ, "TERM": "vt100"},
        )
        os.set_blocking(self.master, False)
        self.screen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait_for(self, text: bytes) -> None:
        def seen() -> bool:
            with contextlib.suppress(BlockingIOError):
                self.screen += os.read(self.master, 65536)
            return text in self.screen

        try:
            wait_until(seen, repr(text), DEADLINE_SECONDS)
        except AssertionError as error:
            raise AssertionError(self.screen) from error

    def end(self) -> int:
        """The exit code; the terminal must be as it was."""
        code = self.process.wait(DEADLINE_SECONDS)
        assert termios.tcgetattr(self.slave) == self.before
        return code

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)


def test_on_a_terminal(scheduler: Scheduler) -> None:
    script = "trap 'stty size; exec sh -i' WINCH; echo $TERM; stty size; while :; do sleep 0.01; done"
    with Terminal(scheduler, script, rows=11, columns=22) as terminal:
        terminal.wait_for(b"11 22")
        assert b"vt100" in terminal.screen
        terminal.resize(33, 44)
        terminal.wait_for(b"33 44")
        # It says so itself, in words that the echo of what is typed has not: only then it can be ended.
        terminal.type(b"sh -c 'echo be$((0))gun; exec sleep 1000'\n")
        terminal.wait_for(b"be0gun")
        terminal.type(b"\x03")  # ends what runs, and neither the shell nor harpoonctl
        terminal.type(b"echo on$((1 + 1))\n")
        terminal.wait_for(b"on2")
        terminal.type(b"exit 7\n")
        assert terminal.end() == 7
    assert commands(scheduler) == []


def test_ctrl_d_ends_what_reads(scheduler: Scheduler) -> None:
    with Terminal(scheduler, "echo ready; cat") as terminal:
        terminal.wait_for(b"ready")
        terminal.type(b"text\n\x04")
        assert terminal.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 128 + 15), (signal.SIGHUP, 128 + 1)])
def test_harpoonctl_told_to_end_puts_the_terminal_back(scheduler: Scheduler, number: int, code: int) -> None:
    with Terminal(scheduler, "echo ready; exec sleep 1000") as terminal:
        terminal.wait_for(b"ready")
        terminal.process.send_signal(number)
        assert terminal.end() == code
    wait_until(lambda: commands(scheduler) == [], "no command is left")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_the_command_ends_with_harpoonctl(scheduler: Scheduler, number: int, code: int) -> None:
    # One that has left its session, and has lost its parent.
    process = started(scheduler, "(setsid sleep 1000 & echo $!); sleep 1000")
    assert process.stdout is not None
    orphan = int(process.stdout.readline())
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_SECONDS)
    assert process.returncode == code
    wait_until(lambda: commands(scheduler) == [], "no command is left")
    wait_until(lambda: not psutil.pid_exists(orphan), "nothing that it has started is left")


def test_a_reader_that_has_seen_enough_ends_it(scheduler: Scheduler) -> None:
    process = started(scheduler, "exec yes")
    assert process.stdout is not None
    process.stdout.read(1000)
    process.stdout.close()
    assert process.wait(DEADLINE_SECONDS) == 141
    wait_until(lambda: commands(scheduler) == [], "no command is left")


def test_a_slow_reader_gets_all(scheduler: Scheduler) -> None:
    process = started(scheduler, "head -c 3000000 /dev/zero; echo end")
    assert process.stdout is not None
    wait_until(lambda: commands(scheduler) or process.poll() is not None, "it runs")
    content = process.stdout.read()
    assert (len(content), content[-4:], process.wait(DEADLINE_SECONDS)) == (3_000_004, b"end\n", 0)


def test_it_ends_with_the_web_worker(scheduler: Scheduler) -> None:
    process = started(scheduler, "echo on; exec sleep 1000")
    assert process.stdout is not None
    assert process.stdout.readline() == b"on\n"
    scheduler.child("gunicorn: worker [harpoon-web]").kill()
    _, err = process.communicate(timeout=DEADLINE_SECONDS)
    assert (process.returncode, err) == (3, b"harpoonctl: the connection broke; the command was ended\n")
    wait_until(lambda: commands(scheduler) == [], "no command is left")
    scheduler.wait_running("web", 1)


def test_it_ends_with_the_task_and_the_scheduler_does_not_wait(tmp_path: Path) -> None:
    with running(["dev"], tmp_path) as own:
        own.schedule(job("web"))
        own.wait_running("web", 1)
        process = started(own, "echo on; exec sleep 1000")
        assert process.stdout is not None
        assert process.stdout.readline() == b"on\n"
        code, seconds = own.end()
        assert (code, seconds < 5) == (0, True)
        process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode != 0


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    (tmp_path / "off.toml").write_text("exec = false\n")
    with running(["dev", "--config", str(tmp_path / "off.toml")], tmp_path / "data") as own:
        own.schedule(job("web"))
        own.wait_running("web", 1)
        code, _, err = run(own, "true")
    assert (code, err) == (1, b"harpoonctl: exec is switched off on this scheduler (the setting exec)\n")
