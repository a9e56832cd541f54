"""Configs that can't be run: each gets one clear error, in the reply or in its err, and leaves nothing."""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, groups, leftovers, running_agent, wait_until


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    with running_agent(tmp_path_factory.mktemp("agent") / "data", "--mem", "1000", "--cpu", "2") as one:
        yield one


@pytest.fixture
def archive(tmp_path: Path) -> str:
    """An artifact of programs that are none: its URL."""
    made = {
        "plain": ("#!/bin/sh\n", 0o644),
        "lost": ("#!/no/such/shell\n", 0o755),
        "noise": ("\0\1\2", 0o755),
    }
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as tar:
        for name, (content, mode) in made.items():
            path = tmp_path / name
            path.write_text(content)
            path.chmod(mode)
            tar.add(path, name)
        (tmp_path / "folder").mkdir()
        tar.add(tmp_path / "folder", "folder")
    return f"file://{tmp_path / 'a.tar.gz'}"


@pytest.fixture
def of_root(tmp_path: Path, archive: str) -> str:
    """The same as a root file system."""
    for name in ("etc", "usr/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("true", "sh"):
        shutil.copy(f"/bin/{name}", tmp_path / "usr/bin" / name)
    with tarfile.open(tmp_path / "root.tar.gz", "w:gz") as tar:
        for name in ("plain", "folder", "etc", "usr"):
            tar.add(tmp_path / name, name)
    return f"file://{tmp_path / 'root.tar.gz'}"


def promised(agent: Agent) -> dict[str, Any]:
    """What the host has and has promised, without how full its disks are at the moment."""
    resources: dict[str, Any] = agent.call("GET", "/resources").json()
    return {**resources, "disks": None}


@pytest.fixture(autouse=True)
def nothing_left(agent: Agent) -> Iterator[None]:
    before = promised(agent)
    yield
    agent.call("DELETE", "/containers/bad-0")
    assert agent.instance("bad-0") is None
    assert promised(agent) == before
    containers = agent.data / "containers"
    wait_until(lambda: not list(containers.iterdir()), "no file is left")
    wait_until(lambda: not leftovers(containers), "no process is left")
    wait_until(lambda: not groups(agent.data), "no cgroup is left")


DRIVERS = pytest.mark.parametrize("driver", ["process", "bubblewrap", "oci"])


@DRIVERS
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exec": ["no-such-program"]}, "no-such-program was not found in "),
        ({"exec": ["/no/such/program"]}, "/no/such/program was not found in "),
        ({"exec": ["./plain"]}, "./plain is not executable ("),
        ({"exec": ["./folder"]}, "./folder was not found in "),
        ({"exec": ["$NOTHING"]}, "names no program once its variables are expanded"),
        (
            {"exec": ["sh"], "working_dir": "/no/such"},
            "working_dir /no/such is not a directory of the artifact",
        ),
        ({"exec": ["sh"], "working_dir": "/plain"}, "working_dir /plain is not a directory"),
        ({"exec": ["sh"], "working_dir": "../../.."}, "working_dir ../../.. is not a directory"),
        ({"exec": ["true", "x" * 200_000]}, "Argument list too long"),
        ({"exec": ["x" * 5000]}, "xxx… was not found in "),
        ({"exec": ["sh"], "working_dir": "/" + "x" * 5000}, "xxx… is not a directory of the artifact"),
    ],
)
def test_what_can_not_be_started_has_failed(
    agent: Agent, archive: str, of_root: str, driver: str, changes: dict[str, Any], why: str
) -> None:
    if driver not in agent.call("GET", "/resources").json()["drivers"]:
        pytest.skip(f"{driver} does not work here")
    if driver == "oci" and changes.get("working_dir") == "../../..":
        pytest.skip("above a root of one's own there is only that root")
    command, url = {"working_dir": "/", **changes}, of_root if driver == "oci" else archive
    agent.run("bad-0", config(command=command, artifact_url=url, driver=driver, restart="always"))
    state = agent.wait_for("bad-0", "failed")["process_state"]
    assert why in state["err"]
    assert len(state["err"]) < 1000
    assert not state["up"]
    assert not state["restarting"]


@pytest.mark.parametrize("program", ["./lost", "./noise"])
def test_what_the_kernel_refuses_ends_with_the_reason_in_its_log(
    agent: Agent, archive: str, program: str
) -> None:
    agent.run("bad-0", config(program, artifact_url=archive))
    instance = agent.wait_for("bad-0", "finished")
    ended = instance["process_state"]["container_exit_status"]
    assert ended == {"exited": True, "exit_status": 127}
    assert any(program[2:] in line for line in agent.wait_for_log("bad-0", program[2:]))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"env": {"A": "x\0y"}}, "must not contain NUL"),
        ({"env": {"A\0": "x"}}, "must not be empty nor contain '=' or NUL"),
        ({"env": {"A=B": "x"}}, "must not be empty nor contain '=' or NUL"),
        ({"ports": {f"P{number}": 0 for number in range(10_000)}}, "at most 256 are possible"),
        ({"ports": {"A": 70_000}}, "from 0 to 65535"),
        ({"command": {"working_dir": "/\0", "exec": ["sh"]}}, "must not be empty"),
        ({"command": {"working_dir": "/", "exec": ["sh\0"]}}, "must not contain NUL"),
        ({"driver": "docker"}, "one of process, bubblewrap, oci"),
        ({"driver": ["process"]}, "Expected `str`"),
        ({"limits": {"mem": "much"}}, "Expected `int`"),
        ({"limits": {"cpu": 1e-9}}, "at least 0.01"),
        ({"limits": {"pids": 10**12}}, "up to 4194304"),
        ({"resources": {"mem": 10**30, "cpu": 1, "fd": 0}}, "mem"),
    ],
)
def test_what_is_wrong_is_refused_at_once(agent: Agent, changes: dict[str, Any], why: str) -> None:
    reply = agent.call("PUT", "/containers/bad-0", config(**changes))
    assert reply.status == 400
    assert why in reply.body.decode()
    assert len(reply.body) < 1000


def test_a_driver_that_does_not_work_is_refused(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--no-limits") as without_groups:
        reply = without_groups.call("PUT", "/containers/bad-0", config(driver="oci"))
        assert reply.status == 500
        assert reply.body.startswith(b"driver oci does not work on this host, only process")


def test_a_body_that_is_no_text_is_refused(agent: Agent) -> None:
    for body in (b"\xff\xfe", b"[" * 100_000, json.dumps([1]).encode(), b""):
        assert agent.call("PUT", "/containers/bad-0", body).status == 400
