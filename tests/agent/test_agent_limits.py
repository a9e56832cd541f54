"""What tasks can't get beyond, really enforced: memory, CPU, processes, and the end of all they started."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, groups, leftovers, running_agent, shell, wait_until

from agent.cgroup import Cgroups
from agent.hierarchies import of_this_host

HOG = [sys.executable, "-c", 'import time; hog = b"x" * (300 << 20); time.sleep(1000)']
SMALL = {"mem": 32, "cpu": 0.001, "fd": 0}


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What this host enforces; asked of it as the agent does."""
    return Cgroups(tmp_path_factory.mktemp("asked"), of_this_host()).limits


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with running_agent(tmp_path / "data", "--metrics-seconds", "0.2") as one:
        yield one


def need(held: list[str], *limits: str) -> None:
    if missing := set(limits) - set(held):
        pytest.skip(f"no cgroup here lets us limit {', '.join(missing)}")


def process_state(agent: Agent, container_id: str) -> Any:
    return agent.wait_for(container_id, "finished")["process_state"]


def test_the_agent_says_what_it_enforces(agent: Agent, held: list[str]) -> None:
    assert agent.call("GET", "/resources").json().get("limits", []) == held
    assert agent.call("GET", "/agent", base="/api/v1").json()["attributes"]["limits"] == held
    missing = {"mem", "cpu", "pids", "tree"} - set(held)
    assert any("not enforced here" in line for line in agent.lines) == bool(missing)


def test_who_takes_too_much_memory_is_ended_and_called_oomed(agent: Agent, held: list[str]) -> None:
    need(held, "mem")
    agent.run("hog-0", config(*HOG, resources=SMALL))
    state = process_state(agent, "hog-0")
    assert state["container_exit_status"] == {"signaled": True, "signal": 9, "oomed": True}
    assert state["ooms"] == 1


def test_ooms_are_counted_over_restarts(agent: Agent, held: list[str]) -> None:
    need(held, "mem")
    # The hog is a child: the task itself sees it end, and ends with a status of its own.
    script = f"{HOG[0]} -c '{HOG[2]}'; exit 3"
    agent.run("again-0", shell(script, resources=SMALL, restart="always"))
    wait_until(lambda: agent.instance("again-0")["process_state"]["ooms"] == 2)
    state = agent.instance("again-0")["process_state"]
    assert state["container_exit_status"] == {"exited": True, "exit_status": 3, "oomed": True}


def test_an_oom_while_no_agent_was_there_is_told_by_the_next_one(agent: Agent, held: list[str]) -> None:
    need(held, "mem")
    late = f"echo began; while [ ! -e go ]; do sleep 0.01; done; exec {HOG[0]} -c '{HOG[2]}'"
    agent.run("late-0", shell(late, resources=SMALL))
    agent.wait_for_log("late-0", "began")
    agent.end(signal.SIGKILL)
    (agent.data / "containers/late-0/root/go").touch()
    wait_until((agent.data / "containers/late-0/exit").exists)
    wait_until(lambda: not groups(agent.data), "the shim removes its groups itself")
    agent.start()
    assert process_state(agent, "late-0")["container_exit_status"]["oomed"]


def test_a_limit_of_memory_above_what_is_reserved(agent: Agent, held: list[str]) -> None:
    need(held, "mem")
    fits = [sys.executable, "-c", "x = b'x' * (40 << 20)"]
    agent.run("burst-0", config(*fits, resources=SMALL, limits={"mem": 128}))
    assert process_state(agent, "burst-0")["container_exit_status"] == {"exited": True}


def test_processes_end_at_their_limit(agent: Agent, held: list[str]) -> None:
    need(held, "pids")
    forks = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; echo never"
    agent.run("bomb-0", shell(forks, limits={"pids": 8}))
    state = process_state(agent, "bomb-0")
    assert state["container_exit_status"]["exit_status"] != 0
    assert any("fork" in line.lower() for line in agent.log("bomb-0"))
    wait_until(lambda: not leftovers(agent.data / "containers"))


def test_cpu_ends_at_its_limit(agent: Agent, held: list[str]) -> None:
    need(held, "cpu")
    spin = "import time\nwhile time.monotonic() < end: pass\nprint(time.process_time())"
    spin = spin.replace("\n", "; end = time.monotonic() + 1\n", 1)
    agent.run("spin-0", config(sys.executable, "-c", spin, limits={"cpu": 0.1}))
    state = process_state(agent, "spin-0")
    assert state["container_exit_status"] == {"exited": True}
    assert float(agent.log("spin-0")[-1]) < 0.35, "a tenth of a second, and some slack for the start"


def dollars(script: str) -> Any:
    """A shell script whose `$` are the shell's: the agent would expand them."""
    return shell(script.replace("$", "${D}"), env={"D": "$"})


LEAVES = "(setsid sh -c 'setsid sleep 1000 </dev/null >/dev/null 2>&1 & echo $! >far' &) & "


@pytest.mark.parametrize("ends", ["exec true", "kill -9 $$", "exec sleep 1000"])
def test_who_left_its_task_ends_with_it(agent: Agent, held: list[str], ends: str) -> None:
    """One that has a session of its own and no parent but init, and writes to none of our files."""
    need(held, "tree")
    agent.run("leaver-0", dollars(LEAVES + "while [ ! -s far ]; do sleep 0.01; done; echo left; " + ends))
    agent.wait_for_log("leaver-0", "left")
    far = int((agent.data / "containers/leaver-0/root/far").read_text())
    if "sleep" in ends:
        os.kill(far, 0)
        agent.stop("leaver-0")
    agent.wait_for("leaver-0", "finished")
    wait_until(lambda: not _alive(far), "it ends with its task")
    wait_until(lambda: not groups(agent.data), "its groups are removed")


def test_who_left_its_task_ends_with_it_though_no_agent_is_there(agent: Agent, held: list[str]) -> None:
    need(held, "tree")
    agent.run("leaver-0", dollars(LEAVES + "echo left; while [ ! -e go ]; do sleep 0.01; done"))
    agent.wait_for_log("leaver-0", "left")
    root = agent.data / "containers/leaver-0/root"
    far = int(wait_until(lambda: (root / "far").exists() and (root / "far").read_text()))
    agent.end(signal.SIGKILL)
    (root / "go").touch()
    wait_until(lambda: not _alive(far))
    wait_until(lambda: not groups(agent.data))


def test_the_next_agent_ends_what_is_left_of_a_task_and_its_shim_that_were_killed(
    agent: Agent, held: list[str]
) -> None:
    need(held, "tree")
    agent.run("leaver-0", dollars(LEAVES + "echo left; exec sleep 1000"))
    agent.wait_for_log("leaver-0", "left")
    root = agent.data / "containers/leaver-0/root"
    far = int(wait_until(lambda: (root / "far").exists() and (root / "far").read_text()))
    agent.end(signal.SIGKILL)
    doomed = set(leftovers(agent.data)) - {far}
    for number in (signal.SIGSTOP, signal.SIGKILL):  # a shim that sees its task end would end the whole tree
        for pid in doomed:
            os.kill(pid, number)
    wait_until(lambda: set(leftovers(agent.data)) <= {far})
    assert _alive(far)
    agent.start()
    wait_until(lambda: not _alive(far))
    assert process_state(agent, "leaver-0")["container_exit_status"] == {"signaled": True, "signal": 9}
    wait_until(lambda: not groups(agent.data))


def test_an_ephemeral_agent_leaves_no_groups(tmp_path: Path, held: list[str]) -> None:
    need(held, "tree")
    with running_agent(tmp_path / "data", "--ephemeral") as agent:
        agent.run("long-0", dollars(LEAVES + "echo left; exec sleep 1000"))
        agent.wait_for_log("long-0", "left")
        assert groups(agent.data)
        agent.end(signal.SIGTERM)
        assert not groups(agent.data)


def test_without_limits_there_are_no_groups(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--no-limits") as agent:
        agent.run("free-0", config())
        agent.wait_for("free-0", "running")
        assert not groups(agent.data)
        assert "limits" not in agent.call("GET", "/resources").json()
        refused = agent.call("PUT", "/containers/held-0", config(limits={"mem": 64, "pids": 3}))
        assert (refused.status, refused.body) == (
            500,
            b"a limit of mem, pids is not enforced on this host\n",
        )
        assert agent.instance("held-0") is None


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False
