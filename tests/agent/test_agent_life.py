"""The life of real tasks under a real agent: starting, ending, restarting, stopping."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, running_agent, shell, wait_until


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    data = tmp_path_factory.mktemp("agent") / "data"
    volume = tmp_path_factory.mktemp("volume")
    flags = ("--cpu", "2", "--mem", "1000", "--metrics-seconds", "0.2", "--keep-alive-seconds", "0.3")
    with running_agent(data, *flags, "--volume", str(volume)) as agent:
        yield agent


def test_a_task_gets_its_env_and_ports_and_nothing_else(agent: Agent) -> None:
    wanted = config(
        "/usr/bin/env",
        ports={"HTTP": 0, "DB": 29001},
        env={"A": "x y", "odd.name": "kept", "EMPTY": ""},
    )
    agent.run("env-0", wanted)
    assert agent.wait_for("env-0", "finished")["process_state"]["container_exit_status"] == {"exited": True}
    port = agent.instance("env-0")["config"]["ports"]["HTTP"]
    assert 30000 <= port <= 32767
    lines = agent.wait_for_log("env-0", "PORT_DB")
    assert sorted(lines) == ["A=x y", "EMPTY=", "PORT_DB=29001", f"PORT_HTTP={port}", "odd.name=kept"]


def test_exec_is_expanded_and_resolved(agent: Agent) -> None:
    agent.run(
        "exec-0",
        config(
            "$SAY",
            "-n",
            "${GREETING}, $PORT_HTTP!",
            env={"SAY": "echo", "GREETING": "hi"},
            ports={"HTTP": 29002},
        ),
    )
    agent.wait_for("exec-0", "finished")
    assert agent.wait_for_log("exec-0", "hi") == ["hi, 29002!"]


def test_a_task_runs_in_its_artifact_with_tmp_and_volumes(agent: Agent) -> None:
    volume = agent.call("GET", "/resources").json()["volumes"][0]
    storage = {"tmp": {"/tmp/deep": -1}, "volumes": {"/data": volume}}
    agent.run("place-0", shell("pwd; echo kept > data/file; echo gone > tmp/deep/file", storage=storage))
    agent.wait_for("place-0", "finished")
    assert agent.wait_for_log("place-0", "/") == [str(agent.data / "containers/place-0/root")]
    assert (Path(volume) / "file").read_text() == "kept\n"
    assert (agent.data / "containers/place-0/root/tmp/deep/file").exists()
    agent.call("DELETE", "/containers/place-0")
    wait_until(lambda: not (agent.data / "containers/place-0").exists())
    assert (Path(volume) / "file").read_text() == "kept\n", "deleting a container does not delete its volume"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("exit 0", {"exited": True}),
        ("exit 3", {"exited": True, "exit_status": 3}),
        ("exit 137", {"exited": True, "exit_status": 137}),
        ("kill -KILL $SELF", {"signaled": True, "signal": 9}),
        ("kill -TERM $SELF", {"signaled": True, "signal": 15}),
        ("kill -SEGV $SELF", {"signaled": True, "signal": 11}),
        ("kill -INT $SELF", {"signaled": True, "signal": 2}),
    ],
)
def test_how_a_task_ended_is_told_exactly(agent: Agent, script: str, told: object) -> None:
    # "$$" would be expanded to nothing, as Go does it; what a variable holds is not expanded again.
    agent.run("exit-0", shell(script, env={"SELF": "$$"}))
    state = agent.wait_for("exit-0", "finished")["process_state"]
    assert state["container_exit_status"] == told
    assert (state["up"], state["restarting"], state["restarts"]) == (False, False, 0)
    agent.call("DELETE", "/containers/exit-0")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"command": {"working_dir": "/", "exec": ["no-such-program"]}}, "no-such-program was not found in "),
        ({"command": {"working_dir": "/", "exec": ["./run"]}}, "./run was not found in "),
        ({"command": {"working_dir": "/", "exec": ["/etc/passwd"]}}, "/etc/passwd is not executable"),
        (
            {"command": {"working_dir": "/nowhere", "exec": ["true"]}},
            "working_dir /nowhere is not a directory",
        ),
        (
            {"command": {"working_dir": "../../..", "exec": ["true"]}},
            "working_dir ../../.. is not a directory",
        ),
        ({"command": {"working_dir": "/", "exec": ["$NOTHING"]}}, "names no program"),
        ({"env": {"LONG": "x" * 300_000}}, "Argument list too long"),
    ],
)
def test_a_task_that_cannot_start_has_failed_and_says_why(
    agent: Agent, changes: dict[str, object], told: str
) -> None:
    watch = agent.watch()
    agent.run("fail-0", config(**changes))
    state = agent.wait_for("fail-0", "failed")["process_state"]
    assert told in state["err"]
    assert not state["up"]
    wait_until(lambda: watch.statuses("fail-0") == ["created", "failed"])
    assert agent.call("POST", "/containers/fail-0/stop").body == b"already stopped\n"
    assert agent.call("DELETE", "/containers/fail-0").status == 200
    watch.close()


@pytest.mark.parametrize(
    ("policy", "script", "again"),
    [
        ("no", "exit 1", False),
        ("on-failure", "exit 0", False),
        ("on-failure", "exit 1", True),
        ("on-failure", "kill -9 $SELF", True),
        ("always", "exit 0", True),
    ],
)
def test_restart_policies(agent: Agent, policy: str, script: str, again: bool) -> None:
    watch = agent.watch()
    agent.run("policy-0", shell(script, restart=policy, env={"SELF": "$$"}))
    if again:
        # Between two starts it stays "running", not up, restarting; then it counts.
        waiting = wait_until(lambda: [s for s in _states(watch.events, "policy-0") if s["restarting"]])
        assert not waiting[0]["up"]
        wait_until(lambda: agent.instance("policy-0")["process_state"]["restarts"] == 1)
        assert watch.statuses("policy-0") == ["created", "running"]
        agent.stop("policy-0")
    agent.wait_for("policy-0", "finished")
    restarts = agent.instance("policy-0")["process_state"]["restarts"]
    assert restarts == (1 if again else 0)
    agent.call("DELETE", "/containers/policy-0")
    watch.close()


def _states(events: list[Any], container_id: str) -> list[dict[str, Any]]:
    told = (event["containers"].get(container_id) for event in list(events))
    return [instance["process_state"] for instance in told if instance]


def test_a_task_stopped_while_it_waits_for_its_restart_never_comes_back(agent: Agent) -> None:
    agent.run("delay-0", shell("echo began; exit 1", restart="always"))
    wait_until(lambda: agent.instance("delay-0")["process_state"]["restarting"])
    agent.stop("delay-0")
    assert agent.instance("delay-0")["status"] == "finished"
    # Another one of the same policy is started again meanwhile: the delay is over.
    agent.run("delay-1", shell("echo began; exit 1", restart="always"))
    wait_until(lambda: agent.log("delay-1").count("began") == 2)
    assert agent.log("delay-0") == ["began"]
    assert agent.instance("delay-0")["status"] == "finished"
    agent.stop("delay-1")


def test_stop_is_term_first(agent: Agent) -> None:
    agent.run(
        "term-0",
        shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done", restart="always"),
    )
    agent.wait_for_log("term-0", "ready")
    agent.stop("term-0")
    state = agent.wait_for("term-0", "finished")["process_state"]
    assert state["container_exit_status"] == {"exited": True, "exit_status": 7}
    assert agent.wait_for_log("term-0", "bye")[-1] == "bye"


def test_a_stop_right_after_the_start_is_a_term_too(agent: Agent) -> None:
    for number in range(10):
        container_id = f"early-{number}"
        agent.run(container_id, config(restart="always"))
        agent.stop(container_id)
    for number in range(10):
        state = agent.wait_for(f"early-{number}", "finished")["process_state"]
        assert state["container_exit_status"] == {"signaled": True, "signal": 15}


def test_stop_is_kill_after_the_grace_for_the_whole_tree(agent: Agent) -> None:
    script = "trap '' TERM; sleep 1001 & setsid sleep 1002 & echo ready; while :; do sleep 0.01; done"
    agent.run("kill-0", shell(script, grace={"startup": "1s", "shutdown": "300ms"}))
    agent.wait_for_log("kill-0", "ready")
    wait_until(lambda: _running("sleep 1001") and _running("sleep 1002"))
    agent.stop("kill-0")
    state = agent.wait_for("kill-0", "finished")["process_state"]
    assert state["container_exit_status"] == {"signaled": True, "signal": 9}
    wait_until(lambda: not _running("sleep 1001") and not _running("sleep 1002"), "all of the tree is gone")


def _running(command_line: str) -> bool:
    words = command_line.replace(" ", "\0").encode() + b"\0"
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes() == words:
                return True
        except OSError:
            continue
    return False


def test_what_a_task_leaves_behind_ends_with_it(agent: Agent) -> None:
    agent.run("left-0", shell("sleep 1003 & exit 0"))
    agent.wait_for("left-0", "finished")
    wait_until(lambda: not _running("sleep 1003"))


def test_a_task_does_not_inherit_ignored_signals_or_open_files(agent: Agent) -> None:
    script = "grep -E 'SigIgn' /proc/self/status; ls /proc/self/fd; readlink /proc/self/fd/0; ulimit -n"
    agent.run("clean-0", shell(script, resources={"mem": 1, "cpu": 0.001, "fd": 64}))
    agent.wait_for("clean-0", "finished")
    lines = agent.wait_for_log("clean-0", "64")
    name, ignored = lines[0].split()
    # The 31 signals that programs know; what the C library keeps for itself may be inherited.
    assert (name, int(ignored, 16) & 0x7FFFFFFF) == ("SigIgn:", 0)
    assert lines[1:] == ["0", "1", "2", "3", "/dev/null", "64"]


def test_a_task_may_have_very_few_open_files(agent: Agent) -> None:
    agent.run("few-0", shell("ulimit -n", resources={"mem": 1, "cpu": 0.001, "fd": 8}))
    assert agent.wait_for("few-0", "finished")["process_state"]["container_exit_status"] == {"exited": True}
    agent.wait_for_log("few-0", "8")


def test_a_finished_task_can_be_started_again(agent: Agent) -> None:
    agent.run("again-0", shell("echo once more"))
    agent.wait_for("again-0", "finished")
    assert agent.call("POST", "/containers/again-0/start").status == 202
    wait_until(lambda: agent.log("again-0") == ["once more", "once more"])


def test_metrics_of_the_whole_tree_are_told_while_it_runs(agent: Agent) -> None:
    watch = agent.watch()
    agent.run(
        "busy-0",
        shell("(while :; do :; done) & while :; do :; done", resources={"mem": 8, "cpu": 0.1, "fd": 0}),
    )

    def samples() -> list[dict[str, int]]:
        states = _states(watch.events, "busy-0")
        return [state["container_metrics"] for state in states if state["container_metrics"]["memory_usage"]]

    wait_until(lambda: len(samples()) >= 3)
    first, last = samples()[0], samples()[-1]
    assert last["cpu_time"] > first["cpu_time"] >= 0
    assert last["memory_usage"] > 100_000
    assert last["memory_limit"] == 8 * 1024 * 1024
    agent.stop("busy-0")
    agent.wait_for("busy-0", "finished")
    assert agent.instance("busy-0")["process_state"]["container_metrics"]["memory_usage"] == 0
    watch.close()


def test_a_silent_stream_is_kept_alive_by_a_comment_without_a_blank_line(agent: Agent) -> None:
    watch = agent.watch()
    wait_until(lambda: b": still here\n" in watch.raw)
    assert b": still here\n\n" not in watch.raw
    watch.close()


def test_the_log_has_both_outputs_and_as_much_history_as_asked(agent: Agent) -> None:
    agent.run("log-0", shell("echo one; echo two >&2; echo three"))
    agent.wait_for_log("log-0", "three")
    assert agent.log("log-0") == ["one", "two", "three"]
    assert agent.log("log-0", 2) == ["two", "three"]
    assert agent.log("log-0", 0) == []
    line = agent.call("GET", "/containers/log-0/log?history=1").json()[0]
    stamp, _, rest = line.partition(" ")
    assert rest == "container[log-0]:three"
    assert len(stamp) == len("2026-11-23_11:12:27.58095")


def test_a_log_stream_goes_on_until_the_container_is_gone(agent: Agent) -> None:
    script = "echo one; echo two; while [ ! -e go ]; do sleep 0.01; done; printf 'three\\nhalf'"
    agent.run("stream-0", shell(script))
    agent.wait_for_log("stream-0", "two")
    watch = agent.watch("/containers/stream-0/log?history=10")
    texts = [[line.partition("]:")[2] for line in event] for event in watch.events]
    assert texts == [["one", "two"]]
    (agent.data / "containers/stream-0/root/go").touch()
    wait_until(lambda: len(watch.events) == 3)
    texts = [[line.partition("]:")[2] for line in event] for event in watch.events]
    assert texts == [["one", "two"], ["three"], ["half"]]
    assert b'data: ["' in watch.raw
    agent.wait_for("stream-0", "finished")
    agent.call("DELETE", "/containers/stream-0")
    assert watch.ended.wait(10)


def test_many_starts_one_after_the_other(agent: Agent) -> None:
    ids = [f"many-{index}" for index in range(50)]
    for container_id in ids:
        agent.run(container_id, config())
    for container_id in ids:
        assert agent.instance(container_id)["process_state"]["up"]
        agent.stop(container_id)
    for container_id in ids:
        state = agent.wait_for(container_id, "finished")["process_state"]
        assert state["container_exit_status"] == {"signaled": True, "signal": signal.SIGTERM}
        assert agent.call("DELETE", f"/containers/{container_id}").status == 200


def test_the_environment_of_a_task_is_on_no_command_line(agent: Agent) -> None:
    secret = "only-the-task-may-know-this"
    agent.run("secret-0", shell("sleep 100", env={"PATH": "/usr/bin:/bin", "PASSWORD": secret}))
    agent.wait_for("secret-0", "running")

    def lines() -> list[str]:
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        return found

    wait_until(lambda: any("secret-0" in line and "sleep 100" in line for line in lines()))
    assert not [line for line in lines() if secret in line]
