"""Agents that end in all ways, and what becomes of their tasks: real processes, really killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from agent_harness import Agent, config, leftovers, running_agent, shell, tasks, wait_until

BOTH_WAYS = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
WAITS_FOR_FILE = "echo began; while [ ! -e go ]; do sleep 0.01; done; "


def end_wholly(agent: Agent, number: signal.Signals) -> None:
    """End an agent and wait until its worker is gone too."""
    workers = agent.workers()
    agent.end(number)
    wait_until(lambda: not any(_alive(pid) for pid in workers), "the worker is gone with its arbiter")


def _alive(pid: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False


def _root(agent: Agent, container_id: str) -> Path:
    return agent.data / "containers" / container_id / "root"


@BOTH_WAYS
def test_tasks_outlive_the_agent_and_are_found_again(tmp_path: Path, number: signal.Signals) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("long-0", shell("echo began; exec sleep 1000", ports={"HTTP": 0}))
        agent.wait_for_log("long-0", "began")
        before = tasks(agent.data)
        shown = agent.instance("long-0")
        end_wholly(agent, number)
        assert tasks(agent.data) == before, "the task lives on"
        agent.start()
        assert agent.instance("long-0") == shown
        assert tasks(agent.data) == before, "and is still the same"
        assert agent.log("long-0") == ["began"], "no line is lost, none is twice"
        # The port it holds is not given to another.
        agent.create("next-0", config(ports={"HTTP": 0}))
        assert agent.instance("next-0")["config"]["ports"] != shown["config"]["ports"]
        # And its end is noticed, although it is not a child of this agent.
        agent.stop("long-0")
        ended = agent.wait_for("long-0", "finished")["process_state"]["container_exit_status"]
        assert ended == {"signaled": True, "signal": 15}


@BOTH_WAYS
@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("exit 0", {"exited": True}),
        ("exit 5", {"exited": True, "exit_status": 5}),
        ("kill -9 $SELF", {"signaled": True, "signal": 9}),
    ],
)
def test_how_a_task_ended_while_no_agent_was_there(
    tmp_path: Path, number: signal.Signals, end: str, told: object
) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("end-0", shell(WAITS_FOR_FILE + "printf last; " + end, env={"SELF": "$$"}))
        agent.wait_for_log("end-0", "began")
        end_wholly(agent, number)
        (_root(agent, "end-0") / "go").touch()
        wait_until(lambda: not leftovers(agent.data), "the task and its shim have ended")
        agent.start()
        state = agent.wait_for("end-0", "finished")["process_state"]
        assert state["container_exit_status"] == told
        assert agent.wait_for_log("end-0", "last") == ["began", "last"]


def test_a_shim_that_was_killed_with_its_task_counts_as_killed(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("shot-0", config())
        wait_until(lambda: len(leftovers(agent.data / "containers")) == 2, "shim and task run")
        end_wholly(agent, signal.SIGKILL)
        for pid in leftovers(agent.data / "containers"):
            os.kill(pid, signal.SIGKILL)
        agent.start()
        state = agent.wait_for("shot-0", "finished")["process_state"]
        assert state["container_exit_status"] == {"signaled": True, "signal": 9}


def test_a_task_whose_shim_was_killed_while_no_agent_was_there_is_ended(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("orphan-0", shell("echo began; exec sleep 1000"))
        agent.wait_for_log("orphan-0", "began")
        (task,) = tasks(agent.data)
        end_wholly(agent, signal.SIGKILL)
        (shim,) = set(leftovers(agent.data)) - {task}
        os.kill(shim, signal.SIGKILL)
        assert _alive(task)
        agent.start()
        agent.wait_for("orphan-0", "finished")
        wait_until(lambda: not _alive(task), "it must not run on unwatched")


def test_a_crash_while_no_agent_was_there_is_followed_by_a_restart(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("crash-0", shell(WAITS_FOR_FILE + "rm go; exit 1", restart="on-failure"))
        agent.wait_for_log("crash-0", "began")
        end_wholly(agent, signal.SIGKILL)
        (_root(agent, "crash-0") / "go").touch()
        wait_until(lambda: not leftovers(agent.data))
        agent.start()
        wait_until(lambda: agent.log("crash-0") == ["began", "began"])
        assert agent.instance("crash-0")["process_state"]["restarts"] == 1


def test_a_restart_that_was_due_is_done_by_the_next_agent(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("due-0", shell("echo began; exit 1", restart="always"))
        wait_until(lambda: agent.instance("due-0")["process_state"]["restarting"])
        end_wholly(agent, signal.SIGKILL)
        agent.start()
        wait_until(lambda: agent.log("due-0").count("began") == 2)


@BOTH_WAYS
def test_a_stopped_task_does_not_come_back_with_the_next_agent(
    tmp_path: Path, number: signal.Signals
) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("delay-0", shell("echo began; exit 1", restart="always"))
        wait_until(lambda: agent.instance("delay-0")["process_state"]["restarting"])
        agent.stop("delay-0")
        # This one ends only after the agent is gone, which must not look like a crash.
        slow = "trap '' TERM; " + WAITS_FOR_FILE + "exit 1"
        agent.run("slow-0", shell(slow, restart="always", grace={"startup": "1s", "shutdown": "10s"}))
        agent.wait_for_log("slow-0", "began")
        agent.stop("slow-0")
        end_wholly(agent, number)
        (_root(agent, "slow-0") / "go").touch()
        wait_until(lambda: not leftovers(agent.data))
        agent.start()
        # One that is due to be restarted shows that restarts have been looked at.
        agent.run("again-0", shell("echo began; exit 1", restart="always"))
        wait_until(lambda: agent.log("again-0").count("began") == 2)
        for container_id in ("delay-0", "slow-0"):
            assert agent.instance(container_id)["status"] == "finished"
            assert agent.log(container_id) == ["began"]


def test_the_next_agent_goes_on_stopping(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        stubborn = "trap '' TERM; echo began; while :; do sleep 0.01; done"
        agent.run("stop-0", shell(stubborn, grace={"startup": "1s", "shutdown": "1s"}))
        agent.wait_for_log("stop-0", "began")
        agent.stop("stop-0")
        end_wholly(agent, signal.SIGKILL)
        assert tasks(agent.data)
        agent.start()
        agent.wait_for("stop-0", "finished")
        assert not tasks(agent.data)


def test_a_worker_that_crashes_is_replaced_and_finds_its_tasks(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.run("long-0", shell("echo began; exec sleep 1000"))
        agent.wait_for_log("long-0", "began")
        before = tasks(agent.data)
        (worker,) = agent.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: agent.workers() and agent.workers() != [worker])
        assert agent.wait_for("long-0", "running")["process_state"]["up"]
        assert tasks(agent.data) == before


def test_one_that_never_began_is_started_by_the_next_agent(tmp_path: Path) -> None:
    """As if the agent had died between writing down the task's process and letting it go."""
    with running_agent(tmp_path / "data") as agent:
        agent.run("held-0", shell("echo began; exec sleep 1000"))
        agent.wait_for_log("held-0", "began")
        end_wholly(agent, signal.SIGKILL)
        for pid in leftovers(agent.data):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not leftovers(agent.data))
        (agent.data / "containers/held-0/exit").write_text("never\n")
        agent.start()
        wait_until(lambda: agent.log("held-0") == ["began", "began"])
        assert agent.instance("held-0")["process_state"]["restarts"] == 0


def test_an_artifact_on_its_way_is_fetched_by_the_next_agent(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        agent.create("fetch-0", config())
        end_wholly(agent, signal.SIGKILL)
        state = agent.data / "containers/fetch-0/state"
        record = json.loads(state.read_text())
        assert record["state"] == "created"
        state.write_text(json.dumps({**record, "state": "waiting", "unpacked": False}))
        (agent.data / "containers/.staging-old").mkdir()
        agent.start()
        agent.wait_for("fetch-0", "running")
        wait_until(lambda: not list((agent.data / "containers").glob(".*")), "nothing half done is left")


def test_a_damaged_record_leaves_the_others_alone(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        for container_id in ("good-0", "torn-0", "bad-0"):
            agent.create(container_id, config(restart="always"))
        end_wholly(agent, signal.SIGTERM)
        (agent.data / "containers/torn-0/state").write_bytes(b"")
        (agent.data / "containers/bad-0/config").write_bytes(b"{")
        agent.start()
        assert agent.instance("good-0")["status"] == "created"
        torn = agent.instance("torn-0")
        assert (torn["status"], torn["process_state"]["err"]) == (
            "failed",
            "the agent's record of it was lost",
        )
        assert agent.call("DELETE", "/containers/torn-0").status == 200
        assert agent.instance("bad-0") is None
        assert any("bad-0 has no readable config" in line for line in agent.lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_ephemeral_agent_takes_its_tasks_with_it(tmp_path: Path, number: signal.Signals) -> None:
    with running_agent(tmp_path / "data", "--ephemeral") as agent:
        agent.run("polite-0", config())
        agent.run("stubborn-0", shell("trap '' TERM; echo began; while :; do sleep 0.01; done"))
        agent.run("crashing-0", shell("exit 1", restart="always"))
        agent.wait_for_log("stubborn-0", "began")
        assert agent.end(number) == 0
        assert leftovers(agent.data) == [], "nothing is left when the agent has ended"
        agent.start()
        assert agent.call("GET", "/containers").body == b"{}\n", "it begins with no containers"


def test_an_ephemeral_agent_killed_with_all_its_processes_is_cleaned_up_after(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--ephemeral") as agent:
        agent.run("long-0", config())
        wait_until(lambda: tasks(agent.data))
        (worker,) = agent.workers()
        os.kill(agent.process.pid, signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        agent.end(signal.SIGKILL)
        assert tasks(agent.data)
        agent.start()
        wait_until(lambda: not tasks(agent.data))
        assert agent.call("GET", "/containers").body == b"{}\n"


@pytest.mark.parametrize("kept", [["--ephemeral"], []])
def test_an_agent_that_dies_with_its_parent(tmp_path: Path, kept: list[str]) -> None:
    """`--die-with-parent`: the launcher is killed, the agent ends as by SIGTERM."""
    launcher = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    with running_agent(
        tmp_path / "data", "--die-with-parent", *kept, launcher=[sys.executable, "-c", launcher]
    ) as agent:
        agent.run("long-0", config())
        wait_until(lambda: tasks(agent.data))
        (arbiter,) = agent.workers()
        agent.end(signal.SIGKILL)
        wait_until(lambda: not _alive(arbiter))
        if kept:
            wait_until(lambda: not leftovers(agent.data), "the tasks of an ephemeral agent are gone too")
        else:
            assert tasks(agent.data), "those of a standing agent live on"


def test_the_tasks_of_an_ephemeral_agent_end_when_its_first_process_is_killed(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data", "--ephemeral") as agent:
        agent.run("long-0", config())
        wait_until(lambda: tasks(agent.data))
        agent.end(signal.SIGKILL)
        wait_until(lambda: not leftovers(agent.data))
