"""The bubblewrap driver: what a task sees and can do, and that it lives and ends as any other."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, groups, leftovers, running_agent, shell, wait_until
from root_made import root_filesystem

from agent import bubblewrap
from agent.bubblewrap import BubblewrapDriver
from agent.drivers import drivers_here
from agent.settings import Settings


@pytest.fixture(scope="module", autouse=True)
def works(tmp_path_factory: pytest.TempPathFactory) -> None:
    problem = BubblewrapDriver(tmp_path_factory.mktemp("asked")).problem()
    if problem != "":
        pytest.skip(f"bubblewrap: {problem or 'not installed'}")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    (tmp_path / "volume").mkdir()
    with running_agent(tmp_path / "data", "--volume", str(tmp_path / "volume")) as one:
        yield one


def boxed(script: str, **changes: Any) -> dict[str, Any]:
    """A shell script in bubblewrap, whose `$` are the shell's."""
    env = {"D": "$", "PATH": "/usr/bin:/bin", **changes.pop("env", {})}
    return shell(script.replace("$", "${D}"), driver="bubblewrap", env=env, **changes)


def lines(agent: Agent, name: str, wanted: dict[str, Any]) -> list[str]:
    """What a task says until it ends by itself, well."""
    agent.run(name, wanted)
    state = agent.wait_for(name, "finished")["process_state"]
    assert state["container_exit_status"] == {"exited": True}, agent.log(name)
    return agent.log(name)


def test_it_sees_its_own_processes_and_no_other(agent: Agent) -> None:
    agent.run("other-0", config())
    (names,) = lines(agent, "pids-0", boxed("echo /proc/[0-9]*"))
    assert len(names.split()) <= 3, "bwrap, and the shell"


def test_it_has_no_capabilities_and_gets_none(agent: Agent) -> None:
    status = lines(agent, "caps-0", boxed("cat /proc/self/status"))
    told = dict(line.split(":\t") for line in status)
    assert {int(told[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Amb")} == {0}
    assert told["NoNewPrivs"] == "1", "so that the bounding set does not matter"


def test_it_sees_of_the_host_what_it_needs_to_run(agent: Agent) -> None:
    hidden = f"/root /home /var /run/user {agent.data}/lock {agent.data}/containers/see-0/config"
    script = f"for p in {hidden}; do ls -d $p; done; touch /usr/mine /etc/mine; touch /tmp/mine mine; ls"
    told = lines(agent, "see-0", boxed(script))
    assert sum("No such file" in line for line in told) == 6
    assert sum("Read-only file system" in line for line in told) == 2
    assert told[-1] == "mine"
    assert not Path("/tmp/mine").exists()
    assert (agent.data / "containers/see-0/root/mine").exists()


def test_its_variables_are_on_no_command_line_and_not_those_of_bwrap(agent: Agent) -> None:
    agent.run(
        "env-0",
        boxed(f"env; : {agent.data}; echo began; exec sleep 1000", env={"SECRET": "psst", "LD_PRELOAD": ""}),
    )
    told = agent.wait_for_log("env-0", "began")
    assert sorted(line for line in told if "=" in line and not line.startswith("_=")) == [
        *("D=$", "LD_PRELOAD=", "PATH=/usr/bin:/bin"),
        *(f"PWD={agent.data}/containers/env-0/root", "SECRET=psst"),
    ]
    wrappers = []
    for pid in (int(path.name) for path in Path("/proc").glob("[0-9]*")):
        try:
            words, environment = _read(pid, "cmdline"), _read(pid, "environ")
        except OSError:
            continue
        assert b"psst" not in words
        if b"/bwrap\0" in words.partition(b"\0")[0] + b"\0" and os.fsencode(agent.data) in words:
            wrappers.append(environment)
    assert wrappers == [b"", b""], "bwrap, and its child that is the first process"


def test_a_host_name_and_ipc_of_its_own(agent: Agent) -> None:
    script = "cat /proc/sys/kernel/hostname; readlink /proc/self/ns/ipc"
    name, ipc = lines(agent, "name-0", boxed(script))
    assert name == "name-0"
    assert ipc != str(Path("/proc/self/ns/ipc").readlink())


def test_volumes_and_tmp(agent: Agent) -> None:
    volume = agent.data.parent / "volume"
    storage = {"tmp": {"/scratch": 65536, "/more": -1}, "volumes": {"/kept": str(volume)}}
    script = (
        "echo 1 >kept/file; echo 2 >more/file; dd if=/dev/zero of=scratch/full bs=1k count=100; cat kept/file"
    )
    told = lines(agent, "store-0", boxed(script, storage=storage))
    assert told[-1] == "1"
    assert any("No space left" in line for line in told)
    assert (volume / "file").read_text() == "1\n"


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("exit 3", {"exited": True, "exit_status": 3}),
        ("kill -SEGV $$; exec sleep 1000", {"signaled": True, "signal": 11}),
    ],
)
def test_how_it_ended(agent: Agent, script: str, ended: Any) -> None:
    agent.run("end-0", boxed(f"exec sh -c '{script}'"))
    assert agent.wait_for("end-0", "finished")["process_state"]["container_exit_status"] == ended


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("exec sleep 1000", {"signaled": True, "signal": 15}),
        ("trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done", {"exited": True, "exit_status": 4}),
        ("trap '' TERM; echo ready; while :; do sleep 0.01; done", {"signaled": True, "signal": 9}),
    ],
)
def test_it_is_asked_to_end_before_it_is_made_to(agent: Agent, script: str, ended: Any) -> None:
    agent.run("stop-0", boxed(script, grace={"startup": "1s", "shutdown": "1s"}))
    if "ready" in script:
        agent.wait_for_log("stop-0", "ready")
    agent.stop("stop-0")
    assert agent.wait_for("stop-0", "finished")["process_state"]["container_exit_status"] == ended
    wait_until(lambda: not leftovers(agent.data / "containers"))


def test_a_signal_reaches_its_program_alone(agent: Agent) -> None:
    script = "sleep 1000 & trap 'echo told' HUP; echo began; while :; do sleep 0.01; done"
    agent.run("told-0", boxed(script))
    agent.wait_for_log("told-0", "began")
    sent = agent.call("POST", "/containers/told-0/signal", {"signal": "HUP"}, base="/api/v1")
    assert sent.status == 200
    agent.wait_for_log("told-0", "told")
    assert agent.instance("told-0")["status"] == "running"


def test_it_outlives_the_agent_and_the_next_one_can_stop_it(agent: Agent) -> None:
    agent.run("long-0", boxed("trap 'exit 5' TERM; echo began; while :; do sleep 0.01; done"))
    agent.wait_for_log("long-0", "began")
    agent.end(signal.SIGKILL)
    agent.start()
    assert agent.wait_for("long-0", "running")["process_state"]["up"]
    agent.stop("long-0")
    ended = agent.wait_for("long-0", "finished")["process_state"]["container_exit_status"]
    assert ended == {"exited": True, "exit_status": 5}
    assert agent.log("long-0").count("began") == 1
    wait_until(lambda: not groups(agent.data))


def test_it_ends_with_its_shim(agent: Agent) -> None:
    agent.run("shot-0", boxed("setsid sleep 1000 & echo began; exec sleep 1000"))
    agent.wait_for_log("shot-0", "began")
    (shim,) = [pid for pid in leftovers(agent.data / "containers") if b"shim.sh" in _read(pid, "cmdline")]
    os.kill(shim, signal.SIGKILL)
    agent.wait_for("shot-0", "finished")
    wait_until(lambda: not leftovers(agent.data / "containers"))


def test_what_it_can_not_run_has_an_error(agent: Agent, tmp_path: Path) -> None:
    (hidden := tmp_path / "hidden").write_text("#!/bin/sh\n")
    hidden.chmod(0o755)
    for name, program, why in [
        ("lost-0", "/no/such", "/no/such was not found in "),
        ("hidden-0", str(hidden), f"{hidden} is not in what bubblewrap shows of the host"),
    ]:
        agent.run(name, config(program, driver="bubblewrap"))
        assert why in agent.wait_for(name, "failed")["process_state"]["err"]
    wait_until(lambda: not groups(agent.data))


def test_a_root_of_its_own(agent: Agent, tmp_path: Path) -> None:
    url = root_filesystem(tmp_path)
    storage = {"tmp": {"/scratch": -1}, "volumes": {"/kept": str(tmp_path / "volume")}}
    script = "echo /* $0; echo at; pwd; echo 1 >/kept/file; echo 2 >/scratch/file"
    wanted = boxed(script, artifact_url=url, storage=storage)
    wanted["command"]["working_dir"] = "/srv"
    told = lines(agent, "own-0", wanted)
    assert told[0].split()[:-1] == sorted(
        ["/bin", "/dev", "/etc", "/kept", "/lib", "/lib64", "/proc", "/scratch", "/srv", "/tmp", "/usr"]
    )
    assert told[1:] == ["at", "/srv"]
    assert (tmp_path / "volume/file").read_text() == "1\n"
    agent.run("none-0", config("bash", driver="bubblewrap", artifact_url=url))
    assert "bash was not found in" in agent.wait_for("none-0", "failed")["process_state"]["err"]


def test_a_link_in_the_place_of_a_tmp_directory_leads_nowhere(agent: Agent, tmp_path: Path) -> None:
    storage = {"tmp": {"/tmp/mine": -1}, "volumes": None}
    wanted = boxed("echo 1 >/tmp/mine/file", artifact_url=root_filesystem(tmp_path), storage=storage)
    agent.create("link-0", wanted)
    place = agent.data / "containers/link-0/root/tmp/mine"
    place.rmdir()
    place.symlink_to(tmp_path)  # as a task may have done before it is started again
    agent.call("POST", "/containers/link-0/start")
    assert (
        "storage path /tmp/mine is not inside" in agent.wait_for("link-0", "failed")["process_state"]["err"]
    )
    assert not (tmp_path / "file").exists()


def test_a_host_where_it_does_not_work_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings(host="", port=0, data=tmp_path, name="n", cpu_cores=1, memory_mb=1, limits=False)
    assert "bubblewrap" in drivers_here(settings).names
    monkeypatch.setattr(bubblewrap, "_OWN", ("--no-such-flag",))
    assert "bubblewrap" not in drivers_here(settings).names
    assert "driver bubblewrap does not work here: bwrap: Unknown option --no-such-flag" in caplog.text
    assert list(tmp_path.iterdir()) == []


def _read(pid: int, name: str) -> bytes:
    return Path(f"/proc/{pid}/{name}").read_bytes()
