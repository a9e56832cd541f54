"""Commands beside a task in bubblewrap: in its namespaces, with as little to see and to do as it has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, entered_by_all, leftovers, running_agent, wait_until
from exec_client import ExecClient
from root_made import root_filesystem
from test_agent_exec import exited, keepers, run

from agent.bubblewrap import BubblewrapDriver

NAMESPACES = ("mnt", "pid", "ipc", "uts")


@pytest.fixture(scope="module", params=["", "nobody"])
def agent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """An agent whose tasks run as its own user, or as another one: then in a namespace of users, too."""
    folder = entered_by_all(tmp_path_factory)
    problem = BubblewrapDriver(folder).problem()
    if problem != "":
        pytest.skip(f"bubblewrap: {problem or 'not installed'}")
    if request.param and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    flags = ["--task-user", request.param] if request.param else []
    with running_agent(folder / "data", *flags) as agent:
        if "bubblewrap" not in agent.call("GET", "/agent", base="/api/v1").json()["attributes"]["drivers"]:
            pytest.skip(f"bubblewrap: {agent.lines}")
        agent.run("web-0", boxed())
        agent.wait_for("web-0", "running")
        yield agent


def boxed(**changes: Any) -> dict[str, Any]:
    return config("sleep", "1000", driver="bubblewrap", env={"PATH": "/usr/bin:/bin"}, **changes)


def test_what_makes_the_namespaces_is_not_taken_for_the_task(tmp_path: Path) -> None:
    assert not BubblewrapDriver(tmp_path).is_inside(os.getpid())


def test_it_is_where_the_task_is(agent: Agent) -> None:
    script = (
        "pwd; id -u; for n in mnt pid ipc uts cgroup user; do readlink /proc/self/ns/$n /proc/1/ns/$n; done"
    )
    told = run(agent, script).out.decode().split()
    assert told[0] == str(agent.data / "containers/web-0/root")
    seen = dict(line.split(":") for line in told[2:])
    assert len(seen) <= 6, "its own, and those of the first process there, are the same"
    for name in NAMESPACES:
        assert f"{name}:{seen[name]}" != Path(f"/proc/self/ns/{name}").readlink().name


def test_it_sees_little_and_may_do_nothing(agent: Agent) -> None:
    script = f"grep -E '^(Cap|NoNew)' /proc/self/status; ls /root {agent.data}/lock; touch /usr/mine"
    client = run(agent, script)
    told = dict(line.split(":\t") for line in client.out.decode().splitlines()[:6])
    assert {name: int(value, 16) for name, value in told.items()} == {
        **{f"Cap{kind}": 0 for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")},
        "NoNewPrivs": 1,
    }
    said = client.err.decode().splitlines()
    assert [line.rpartition(": ")[2] for line in said] == ["No such file or directory"] * 2 + [
        "Read-only file system"
    ]


@pytest.mark.parametrize("script", ["setsid sleep 1001 & exit 0", "sleep 1001 & sleep 1001"])
def test_what_it_has_started_ends_with_it(agent: Agent, script: str) -> None:
    before = set(leftovers(agent.data / "containers"))
    with ExecClient(_url(agent), "sh", "-c", f"echo on; {script}", tty="exit" not in script) as client:
        client.until(lambda: client.out)
        if "exit" in script:
            assert client.end() == exited(0)
    wait_until(lambda: not set(leftovers(agent.data / "containers")) - before)
    wait_until(lambda: not keepers())
    assert agent.instance("web-0")["process_state"]["up"]


def test_a_terminal_and_a_program_that_is_not_there(agent: Agent) -> None:
    with ExecClient(_url(agent), "sh", "-c", "stty size; echo mine >/dev/tty", tty=True, rows=9) as client:
        assert client.end() == exited(0)
    assert client.out.split() == [b"9", b"80", b"mine"]
    with ExecClient(_url(agent), "nosuch") as client:
        assert client.end() == {"status": 400, "detail": "nosuch was not found", "exit_status": 127}


def test_in_a_root_of_its_own(agent: Agent) -> None:
    folder = agent.data.parent / f"made-{os.getpid()}"
    folder.mkdir(exist_ok=True)
    wanted = config("/usr/sleep", "1000", driver="bubblewrap")
    wanted.update(artifact_url=root_filesystem(folder), command={**wanted["command"], "working_dir": "/srv"})
    agent.run("own-0", wanted)
    agent.wait_for("own-0", "running")
    told = run(agent, "pwd; echo /*", task="own-0").out.decode().splitlines()
    assert told[0] == "/srv"
    assert "/usr" in told[1].split() and "/home" not in told[1].split()
    agent.stop("own-0")


def _url(agent: Agent) -> str:
    return f"ws://127.0.0.1:{agent.port}/api/v1/containers/web-0/exec"
