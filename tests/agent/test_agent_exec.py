"""Commands beside a task of the process driver: where they run, what goes in and out, and that they end."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, entered_by_all, leftovers, running_agent, shell, wait_until
from exec_client import ExecClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from scheduling.exec_wire import ExecControl


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data") as agent:
        agent.run("web-0", config(env={"SECRET": "psst", "PATH": "/usr/bin:/bin"}, ports={"HTTP": 0}))
        agent.wait_for("web-0", "running")
        yield agent


def url(agent: Agent, task: str = "web-0") -> str:
    return f"ws://127.0.0.1:{agent.port}/api/v1/containers/{task}/exec"


def beside(agent: Agent, *command: str, task: str = "web-0", **wanted: Any) -> ExecClient:
    return ExecClient(url(agent, task), *command, **wanted)


def run(agent: Agent, script: str, task: str = "web-0", stdin: bytes = b"", **wanted: Any) -> ExecClient:
    """A shell script beside a task, to its end."""
    with beside(agent, "sh", "-c", script, task=task, **wanted) as client:
        if stdin:
            client.type(stdin)
        client.say(ExecControl(eof=True))
        assert "exited" in client.end(), client.last
    return client


def exited(status: int) -> dict[str, Any]:
    return {"exited": True, "exit_status": status, "signaled": False, "signal": 0, "oomed": False}


def signaled(number: int) -> dict[str, Any]:
    return {"exited": False, "exit_status": 0, "signaled": True, "signal": number, "oomed": False}


def keepers() -> list[int]:
    """The processes that keep commands of agents that this process has started."""
    return [
        int(path.name)
        for path in Path("/proc").glob("[0-9]*")
        if b"agent/enter.py" in _read(path / "cmdline") and b") Z " not in _read(path / "stat")
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_it_has_the_environment_and_the_directory_of_the_task(agent: Agent) -> None:
    port = agent.instance("web-0")["config"]["ports"]["HTTP"]
    told = run(agent, "pwd; exec env").out.decode().splitlines()
    wanted = [str(agent.data / "containers/web-0/root"), "PATH=/usr/bin:/bin"]
    assert told[0] == wanted[0]
    assert sorted(line for line in told[1:] if not line.startswith(("PWD=", "_=", "OLDPWD="))) == [
        *(wanted[1], f"PORT_HTTP={port}", "SECRET=psst"),
    ]


def test_out_and_err_apart_and_the_exit_code(agent: Agent) -> None:
    client = run(agent, "echo one; echo two >&2; exit 42")
    assert (client.out, client.err) == (b"one\n", b"two\n")
    with beside(agent, "sh", "-c", "exit 42") as client:
        assert client.end() == exited(42)
    with beside(agent, "sh", "-c", "kill -SEGV $$") as client:
        assert client.end() == signaled(signal.SIGSEGV)


def test_a_key_that_comes_before_the_command_has_begun(agent: Agent) -> None:
    for _ in range(3):
        with beside(agent, "sleep", "60", tty=True) as client:
            client.type(b"\x03")
            assert client.end() == signaled(signal.SIGINT)


@pytest.mark.parametrize("letter", ["a", "/a", "\u00e9"])
def test_a_very_long_name_of_no_program(agent: Agent, letter: str) -> None:
    with beside(agent, letter * 9000) as client:
        problem = client.end()
    assert (problem["status"], problem["exit_status"]) == (400, 126)
    assert problem["detail"].endswith("… can't be run: File name too long")


def test_much_goes_in_and_out_in_order(agent: Agent) -> None:
    content = os.urandom(1_500_000)
    with beside(agent, "cat") as client:
        for start in range(0, len(content), 50_000):
            client.type(content[start : start + 50_000])
            client.until(lambda start=start: client.taken >= start)  # type: ignore[misc]
        client.say(ExecControl(eof=True))
        assert client.end() == exited(0)
    assert client.out == content


def test_a_terminal_and_its_size(agent: Agent) -> None:
    script = 'trap "stty size; exit 7" WINCH; stty size; tty; echo $TERM; while :; do sleep 0.01; done'
    with beside(agent, "sh", "-c", script, tty=True, rows=11, columns=22, term="vt100") as client:
        client.until(lambda: b"vt100" in client.out)
        assert client.out.split()[:2] == [b"11", b"22"]
        assert client.out.split()[2].startswith(b"/dev/pts/")
        client.say(ExecControl(rows=33, columns=44))
        assert client.end() == exited(7)
    assert b"33 44" in client.out


@pytest.mark.parametrize(("key", "ended"), [(b"\x03", signaled(2)), (b"\x04", exited(0))])
def test_keys_of_a_terminal_go_to_the_command(agent: Agent, key: bytes, ended: Any) -> None:
    with beside(agent, "cat", tty=True) as client:
        client.type(b"line\n")
        client.until(lambda: client.out.count(b"line") == 2)  # the echo, and what cat says
        client.type(key)
        assert client.end() == ended


@pytest.mark.parametrize(
    "script", ["sleep 1000 & wait", "setsid sleep 1000 & exit 0", "nohup sleep 1000 & exit 0"]
)
def test_what_it_has_started_ends_with_it(agent: Agent, script: str) -> None:
    before = set(leftovers(agent.data / "containers"))
    with beside(agent, "sh", "-c", script) as client:
        client.started()
        if "exit" in script:
            assert client.end() == exited(0)
        else:
            wait_until(lambda: len(set(leftovers(agent.data / "containers")) - before) == 2)
    wait_until(lambda: not set(leftovers(agent.data / "containers")) - before)
    wait_until(lambda: not keepers())
    assert agent.instance("web-0")["process_state"]["up"]


@pytest.mark.parametrize("orderly", [False, True])
def test_a_client_that_leaves_ends_it_also_while_nobody_reads(agent: Agent, orderly: bool) -> None:
    (agent.data / "containers/web-0/root/hung-up").unlink(missing_ok=True)
    client = beside(
        agent, "sh", "-c", "trap 'touch hung-up; exit' HUP; echo on; while :; do sleep 0.01; done"
    )
    client.until(lambda: client.out)
    client.type(b"x" * 128_000)
    (client.socket if orderly else client.socket.socket).close()
    wait_until((agent.data / "containers/web-0/root/hung-up").exists, "it is told first")
    wait_until(lambda: not keepers())


def test_one_that_ignores_the_end_of_its_terminal_ends_all_the_same(agent: Agent) -> None:
    client = beside(agent, "sh", "-c", "trap '' HUP TERM; echo on; while :; do sleep 0.01; done", tty=True)
    client.until(lambda: b"on" in client.out)
    client.socket.socket.close()
    wait_until(lambda: not keepers())


def test_it_ends_with_the_task(agent: Agent) -> None:
    agent.run("short-0", config())
    agent.wait_for("short-0", "running")
    with beside(agent, "sh", "-c", "echo on; exec sleep 1000", task="short-0") as client:
        client.until(lambda: client.out)
        agent.stop("short-0")
        assert client.end()["signaled"]
    agent.wait_for("short-0", "finished")
    with beside(agent, "true", task="short-0") as client:
        assert client.end() == {"status": 409, "detail": "not running (yet)"}


def test_what_can_not_be_run_is_told(agent: Agent) -> None:
    root = agent.data / "containers/web-0/root"
    (root / "plain").write_text("no program")
    for command, detail, status in [
        ("nosuch", "nosuch was not found", 127),
        ("./plain", "./plain can't be run: Permission denied", 126),
        ("/no/such", "/no/such was not found", 127),
    ]:
        with beside(agent, command) as client:
            assert client.end() == {"status": 400, "detail": detail, "exit_status": status}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (b'\0{"command":[]}', "command names no program"),
        (b'\0{"command":["a\\u0000b"]}', "NUL"),
        (b'\0{"command":["x"],"rows":0}', "1 to 10000 rows"),
        (b'\0{"command":["x"],"user":"root"}', "unknown field"),
        (b"\0" + b"[" * 9000, "not a message like"),
        (b"\1ls", "after a first byte 0"),
        (b"", "after a first byte 0"),
        ("text", "BINARY"),
    ],
)
def test_what_is_no_request_is_refused(agent: Agent, message: bytes | str, told: str) -> None:
    with beside(agent) as client:
        client.socket.send(message)
        problem = client.end()
    assert (problem["status"], told in problem["detail"]) == (400, True), problem


def test_nonsense_while_it_runs_ends_it(agent: Agent) -> None:
    for nonsense in (b"\0{]", b'\0{"rows":99999}', b"\7"):
        with beside(agent, "sleep", "1000") as client:
            client.started().socket.send(nonsense)
            assert client.end()["status"] == 400
    with beside(agent, "sleep", "1000") as client:
        client.started()
        for _ in range(10):
            client.type(b"x" * 100_000)
        assert "of stdin are on the way" in client.end()["detail"]
    wait_until(lambda: not keepers())


def test_nobody_of_that_name_and_no_web_pages(agent: Agent) -> None:
    with beside(agent, "true", task="nobody-0") as client:
        assert client.end()["status"] == 404
    evil = Origin("http://evil.example")
    with pytest.raises(InvalidStatus) as refused, connect(url(agent), proxy=None, origin=evil):
        pass
    assert refused.value.response.status_code == 403


def test_who_ran_what_is_told(agent: Agent) -> None:
    run(agent, "true")
    wait_until(lambda: any("exec: '127.0.0.1' runs 'sh' in web-0" in line for line in agent.lines))


def test_so_many_at_a_time(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("web-0", config())
        agent.wait_for("web-0", "running")
        clients = [beside(agent, "sleep", "1000").started() for _ in range(32)]
        with beside(agent, "true") as client:
            problem = client.end()
        assert (problem["status"], "32" in problem["detail"]) == (503, True)
        for client in clients:
            client.socket.socket.close()
        wait_until(lambda: not keepers())
        with beside(agent, "true") as client:
            assert client.end() == exited(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_with_the_agent(tmp_path: Path, number: signal.Signals) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("web-0", config())
        agent.wait_for("web-0", "running")
        with beside(agent, "sh", "-c", "setsid sleep 1000 & sleep 1000") as client:
            client.started()
            agent.end(number)
            wait_until(lambda: not keepers())
        agent.start()
        assert agent.wait_for("web-0", "running")["process_state"]["up"]


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--no-exec") as agent:
        agent.run("web-0", config())
        with beside(agent, "true") as client:
            problem = client.end()
    assert (problem["status"], "--no-exec" in problem["detail"]) == (403, True)


def test_its_user_group_and_limits_are_those_of_the_task(tmp_path_factory: pytest.TempPathFactory) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    folder = entered_by_all(tmp_path_factory)
    with running_agent(folder / "data", "--task-user", "nobody") as agent:
        script = "id -u; id -G; ulimit -n; cat /proc/self/cgroup; exec sleep 1000"
        wanted = shell(script, resources={"mem": 64, "cpu": 0.1, "fd": 55})
        agent.run("web-0", wanted)
        told = wait_until(lambda: agent.log("web-0")[3:] and agent.log("web-0"))
        assert told[0] == str(pwd.getpwnam("nobody").pw_uid)
        client = run(agent, script.rpartition(";")[0])
        assert client.out.decode().splitlines() == told
        with beside(agent, "sh", "-c", "echo mine >/dev/tty; cat >$(tty)", tty=True) as client:
            client.type(b"yes\n\4")
            assert client.end() == exited(0)
        assert b"mine" in client.out
