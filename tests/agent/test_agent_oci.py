"""The oci driver: a real runc, with root file systems and bundles, harmless and hostile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, entered_by_all, groups, leftovers, running_agent, wait_until
from exec_client import ExecClient
from root_made import make_root, packed
from test_agent_exec import exited, keepers

from agent.cgroup import Cgroups
from agent.hierarchies import of_this_host
from agent.oci import OciDriver

PROGRAMS = ("sleep", "cat", "id", "ls", "env", "stty", "setsid", "unshare", "mount", "dd", "head", "tail")
ENV = {"PATH": "/usr:/bin", "D": "$"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `root.tar.gz`, and `rootfs` to make bundles of."""
    folder = tmp_path_factory.mktemp("made")
    problem = OciDriver(folder, Cgroups(folder, of_this_host())).problem()
    if problem != "":
        pytest.skip(f"oci: {problem or 'runc is not installed'}")
    packed(make_root(folder / "rootfs", *PROGRAMS), folder / "root.tar.gz")
    return folder


@pytest.fixture(scope="module")
def agent(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    folder = tmp_path_factory.mktemp("agent")
    (folder / "volume").mkdir()
    with running_agent(folder / "data", "--volume", str(folder / "volume")) as one:
        yield one


def contained(made: Path, script: str, **changes: Any) -> dict[str, Any]:
    """A shell script in a container, whose `$` are the shell's."""
    right = {"driver": "oci", "artifact_url": f"file://{made}/root.tar.gz", "env": ENV, **changes}
    wanted = config("sh", "-c", script.replace("$", "${D}"), **right)
    return {**wanted, "resources": {"mem": 64, "cpu": 0.1, "fd": 99}}


def lines(agent: Agent, name: str, wanted: dict[str, Any]) -> list[str]:
    """What a task says until it ends by itself, well."""
    agent.run(name, wanted)
    state = agent.wait_for(name, "finished")["process_state"]
    assert state["container_exit_status"] == {"exited": True}, (state, agent.log(name))
    return agent.log(name)


def ended(agent: Agent, name: str) -> Any:
    return agent.wait_for(name, "finished")["process_state"]["container_exit_status"]


def test_what_makes_the_container_is_not_taken_for_the_task(tmp_path: Path) -> None:
    assert not OciDriver(tmp_path).is_inside(os.getpid())


def test_it_is_told_of_and_works(agent: Agent) -> None:
    assert "oci" in agent.call("GET", "/resources").json()["drivers"]


def test_it_has_its_own_of_everything_and_no_rights(agent: Agent, made: Path) -> None:
    script = (
        "cat /proc/self/status; echo name $(cat /proc/sys/kernel/hostname); echo pids /proc/[0-9]*;"
        "ulimit -n;"
        "for n in pid ipc uts mnt cgroup net; do ls -l /proc/self/ns/$n; done; ls /; pwd; id -u; echo pid $$"
    )
    told = lines(agent, "own-0", contained(made, script))
    status = dict(line.split(":\t") for line in told if ":\t" in line)
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "name own-0" in told and "pid 1" in told and "99" in told
    assert len(next(line for line in told if line.startswith("pids")).split()) <= 4
    spaces = dict(line.rpartition(" -> ")[2].split(":") for line in told if " -> " in line)
    for name, number in spaces.items():
        here = Path(f"/proc/self/ns/{name}").readlink().name.partition(":")[2]
        assert (number == here) is (name == "net"), "the network is the host's, and nothing else"
    assert "home" not in told


def test_what_is_forbidden(agent: Agent, made: Path) -> None:
    script = (
        "mount -t tmpfs none /srv && echo BAD; unshare --user true && echo BAD;"
        "echo 1 >/proc/sys/vm/swappiness && echo BAD;"
        f"ls {agent.data} && echo BAD; cat /proc/kcore | head -c 1 | cat; ls /sys /root; echo done"
    )
    told = lines(agent, "bad-0", contained(made, script))
    assert told[-1] == "done"
    assert not any("BAD" in line for line in told), told
    assert any("unshare" in line and "not permitted" in line for line in told)


def test_its_variables_are_on_no_command_line(agent: Agent, made: Path) -> None:
    wanted = contained(
        made, "env; echo began; exec sleep 1000", env={**ENV, "SECRET": "psst", "LD_PRELOAD": ""}
    )
    agent.run("env-0", wanted)
    told = agent.wait_for_log("env-0", "began")
    assert {line for line in told if "=" in line and not line.startswith(("_=", "PWD=", "OLDPWD="))} >= {
        *("D=$", "LD_PRELOAD=", "PATH=/usr:/bin", "SECRET=psst"),
    }
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert b"psst" not in path.read_bytes()
        except OSError:
            continue
    assert (agent.data / "containers/env-0/bundle/config.json").stat().st_mode & 0o777 == 0o600
    agent.stop("env-0")


def test_volumes_and_tmp(agent: Agent, made: Path) -> None:
    volume = agent.data.parent / "volume"
    storage = {"tmp": {"/scratch": 65536, "/tmp/more": -1}, "volumes": {"/kept": str(volume)}}
    script = "echo 1 >/kept/file; echo 2 >/tmp/more/file; head -c 99999 /dev/zero >/scratch/x; cat /kept/file"
    told = lines(agent, "store-0", contained(made, script, storage=storage))
    assert told[-1] == "1"
    assert any("No space left" in line for line in told)
    assert (volume / "file").read_text() == "1\n"
    assert (agent.data / "containers/store-0/root/tmp/more/file").read_text() == "2\n"


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 3", {"exited": True, "exit_status": 3}),
        ("sh -c 'kill -SEGV $$'; exit $?", {"signaled": True, "signal": 11}),
    ],
)
def test_how_it_ended(agent: Agent, made: Path, script: str, how: Any) -> None:
    agent.run(f"end-{len(script)}", contained(made, script))
    assert ended(agent, f"end-{len(script)}") == how


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("trap 'exit 4' TERM; echo ready; while :; do sleep 0.01; done", {"exited": True, "exit_status": 4}),
        # The first process of its namespace: without a handler the kernel drops what is not KILL.
        ("echo ready; exec sleep 1000", {"signaled": True, "signal": 9}),
    ],
)
def test_it_is_asked_to_end_before_it_is_made_to(agent: Agent, made: Path, script: str, how: Any) -> None:
    name = f"stop-{len(script)}"
    agent.run(name, contained(made, script, grace={"startup": "1s", "shutdown": "500ms"}))
    agent.wait_for_log(name, "ready")
    agent.stop(name)
    assert ended(agent, name) == how
    wait_until(lambda: not any(f"t-{name}" in str(group) for group in groups(agent.data)))


def test_a_signal_reaches_its_program(agent: Agent, made: Path) -> None:
    agent.run(
        "told-0", contained(made, "trap 'echo told; exit' HUP; echo began; while :; do sleep 0.01; done")
    )
    agent.wait_for_log("told-0", "began")
    assert agent.call("POST", "/containers/told-0/signal", {"signal": "HUP"}, base="/api/v1").status == 200
    agent.wait_for_log("told-0", "told")


def test_its_limits_are_of_the_task_s_own_group(agent: Agent, made: Path) -> None:
    if not {"mem", "pids"} <= set(agent.call("GET", "/resources").json()["limits"]):
        pytest.skip("limits of memory and processes are not enforced here")
    wanted = contained(made, "head -c 200m /dev/zero | tail; echo survived $?; exit 1")
    agent.run("oom-0", wanted)
    state = agent.wait_for("oom-0", "finished")["process_state"]
    assert state["container_exit_status"]["oomed"] is True
    assert state["ooms"] >= 1
    wanted = contained(
        made,
        "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i + 1)); done; wait",
    )
    agent.run("fork-0", {**wanted, "limits": {"mem": 0, "cpu": 0, "pids": 10}})
    agent.wait_for_log("fork-0", "Cannot fork")


def test_it_outlives_the_agent_and_the_next_one_can_stop_it(made: Path, tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("long-0", contained(made, "trap 'exit 5' TERM; echo began; while :; do sleep 0.01; done"))
        agent.run("gone-0", contained(made, "echo began; read line </srv/go; exit 6"))
        agent.wait_for_log("long-0", "began")
        agent.end(signal.SIGKILL)
        agent.start()
        assert agent.wait_for("long-0", "running")["process_state"]["up"]
        agent.stop("long-0")
        assert ended(agent, "long-0") == {"exited": True, "exit_status": 5}
        assert agent.log("long-0").count("began") == 1


def test_it_ends_with_its_shim_and_starts_again(made: Path, tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        wanted = contained(made, "setsid sleep 1000 & echo began; exec sleep 1000", restart="always")
        agent.run("shot-0", wanted)
        agent.wait_for_log("shot-0", "began")
        (shim,) = [pid for pid in leftovers(agent.data / "containers") if b"shim.sh" in _read(pid, "cmdline")]
        os.kill(shim, signal.SIGKILL)
        wait_until(lambda: agent.log("shot-0").count("began") == 2, "it runs again, runc's old state or not")
        agent.call("POST", "/containers/shot-0/stop")
        agent.wait_for("shot-0", "finished")
        wait_until(lambda: not leftovers(agent.data / "containers"))
        wait_until(lambda: not groups(agent.data))


def test_commands_beside_it(agent: Agent, made: Path) -> None:
    agent.run("beside-0", contained(made, "exec sleep 1000", env={**ENV, "SECRET": "psst"}))
    agent.wait_for("beside-0", "running")
    url = f"ws://127.0.0.1:{agent.port}/api/v1/containers/beside-0/exec"
    script = (
        "echo $SECRET $TERM; pwd; cat /proc/self/status;"
        "until [ '33 44' = \"$(stty size)\" ]; do sleep 0.01; done; exit 9"
    )
    with ExecClient(url, "sh", "-c", script, tty=True, rows=33, columns=44, term="vt100") as client:
        assert client.end() == exited(9)
    told = client.out.decode().splitlines()
    assert told[:2] == ["psst vt100", "/"]
    status = dict(line.split(":\t") for line in told if ":\t" in line)
    assert (int(status["CapEff"], 16), status["Seccomp"], status["NoNewPrivs"]) == (0, "2", "1")
    named = [each for each in groups(agent.data) if each.name == "t-beside-0"]
    group = next(each for each in named if (each / "cgroup.procs").read_text())
    before = (group / "cgroup.procs").read_text()
    with ExecClient(url, "sh", "-c", "sleep 1000 & echo on; sleep 1000") as client:
        client.until(lambda: client.out)
        assert (group / "cgroup.procs").read_text() != before
    wait_until(lambda: not keepers())
    wait_until(lambda: (group / "cgroup.procs").read_text() == before, "what it has started is gone")
    assert agent.instance("beside-0")["process_state"]["up"]
    agent.stop("beside-0")


def bundle(made: Path, folder: Path, content: Any, root: str = "rootfs") -> str:
    """An OCI bundle with this config.json; its URL."""
    (folder / "bundle").mkdir()
    os.link(made / "root.tar.gz", folder / "unused")
    make_root(folder / "bundle/rootfs", *PROGRAMS)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "bundle/config.json").write_text(text)
    return packed(folder / "bundle", folder / "bundle.tar.gz")


def test_a_bundle_says_who_and_what_variables_and_nothing_else(
    agent: Agent, made: Path, tmp_path: Path
) -> None:
    everything = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"]
    hostile = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 1234, "gid": 4321, "additionalGids": [0]},
            "args": ["/bin/false"],
            "env": ["A=image", "B=image", "no pair"],
            "cwd": "/nowhere",
            "noNewPrivileges": False,
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "inheritable", "permitted", "ambient"), everything
            ),
            "apparmorProfile": "unconfined",
        },
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/host", "type": "bind", "source": "/", "options": ["rbind", "rw"]}],
        "hooks": {"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", f"touch {tmp_path}/hooked"]}]},
        "linux": {"namespaces": [], "devices": [{"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}]},
    }
    url = bundle(made, tmp_path, hostile)
    wanted = contained(
        made, "env; id -u; id -g; ls / /dev; cat /proc/self/status", artifact_url=url, env={**ENV, "B": "job"}
    )
    told = lines(agent, "bundle-0", wanted)
    assert "A=image" in told and "B=job" in told and "1234" in told and "4321" in told
    assert "host" not in told and "mem" not in told
    status = dict(line.split(":\t") for line in told if ":\t" in line)
    assert (int(status["CapEff"], 16), status["NoNewPrivs"], status["Groups"].strip()) == (0, "1", "")
    assert not (tmp_path / "hooked").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "config.json of the artifact is not that of an OCI bundle"),
        ({"root": {"path": "/srv"}}, "is not a directory in the artifact"),
        ({"root": {"path": "../" * 30 + "srv"}}, "is not a directory in the artifact"),
        ({"root": {"path": "."}}, "is not a directory in the artifact"),
        ({"process": {"user": {"uid": -1}}}, "user -1:0 of config.json is none"),
    ],
)
def test_a_bundle_that_is_none_has_an_error(
    agent: Agent, made: Path, tmp_path: Path, content: Any, why: str
) -> None:
    name = f"none-{len(str(content))}"
    agent.run(name, contained(made, "true", artifact_url=bundle(made, tmp_path, content)))
    assert why in agent.wait_for(name, "failed")["process_state"]["err"]
    assert not any(f"t-{name}" in str(group) for group in groups(agent.data))


def test_what_it_can_not_run_has_an_error(agent: Agent, made: Path) -> None:
    agent.run("plain-0", contained(made, "true", artifact_url=""))
    assert (
        "driver oci needs an artifact that is" in agent.wait_for("plain-0", "failed")["process_state"]["err"]
    )
    wanted = contained(made, "true")
    wanted["command"] = {"working_dir": "/", "exec": ["nosuch"]}
    agent.run("lost-0", wanted)
    assert "nosuch was not found in" in agent.wait_for("lost-0", "failed")["process_state"]["err"]


def test_as_another_user(made: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = entered_by_all(tmp_path_factory)
    with running_agent(folder / "data", "--task-user", "nobody") as agent:
        told = lines(agent, "user-0", contained(made, "id -u; echo 1 >/srv/mine; cat /srv/mine"))
    assert told == ["65534", "1"]


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""
