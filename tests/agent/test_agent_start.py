"""How an agent begins and ends: its settings, its one-line errors, its exit codes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from agent_harness import REPOSITORY, command, running_agent, wait_until


def start_and_fail(*flags: str, **env: str) -> str:
    """Start an agent that must refuse to; returns the one line it says."""
    ended = subprocess.run(
        command(*flags),
        cwd=REPOSITORY,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 1, ended.stderr
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = start_and_fail("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    assert line == f"harpoon-agent: cannot listen on 127.0.0.1:{port}: Address already in use\n"


def test_an_unwritable_data_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = start_and_fail("--listen", "127.0.0.1:0", "--data", str(tmp_path / "file"))
    assert line == f"harpoon-agent: cannot use data directory {tmp_path}/file: Not a directory\n"
    line = start_and_fail("--listen", "127.0.0.1:0", "--data", "/proc/agent")
    assert line.startswith("harpoon-agent: cannot use data directory /proc/agent: ")


def test_a_second_agent_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data"):
        line = start_and_fail("--listen", "127.0.0.1:0", "--data", str(tmp_path / "data"))
    assert line == f"harpoon-agent: data directory {tmp_path}/data is in use by another agent\n"


def test_a_config_file_that_is_wrong_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    line = start_and_fail("--config", str(file))
    assert f"cannot read {file}" in line
    file.write_text("data = \n")
    assert f"cannot read {file}" in start_and_fail("--config", str(file))
    file.write_text("colour = 'blue'\n")
    assert (
        start_and_fail("--config", str(file))
        == f"harpoon-agent: {file}: 'colour' is not a setting of harpoon-agent\n"
    )


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--listen", "nowhere"], "is not an address like"),
        (["--listen", "127.0.0.1:70000"], "is not an address like"),
        (["--cpu", "0"], "--cpu"),
        (["--mem", "-1"], "--mem"),
        (["--label", "zone"], "is not a label like"),
    ],
)
def test_a_wrong_flag_names_the_flag_and_what_would_be_right(flags: list[str], told: str) -> None:
    ended = subprocess.run(
        command(*flags), cwd=REPOSITORY, capture_output=True, text=True, timeout=20, check=False
    )
    assert ended.returncode == 2
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_settings_come_from_file_then_environment_then_flags(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('cpu = 3\nmem = 300\nname = "file"\nvolume = ["/a", "/b"]\n[label]\nzone = "a"\n')
    monkeypatch.setenv("HARPOON_AGENT_MEM", "200")
    monkeypatch.setenv("HARPOON_AGENT_NAME", "environment")
    with running_agent(tmp_path / "data", "--config", str(file), "--name", "flag") as agent:
        resources = agent.call("GET", "/resources").json()
        about = agent.call("GET", "/agent", base="/api/v1").json()
    assert resources["cpus"]["total"] == 3
    assert resources["mem"]["total"] == 200
    assert resources["volumes"] == ["/a", "/b"]
    assert (about["name"], about["labels"]) == ("flag", {"zone": "a"})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_time_with_code_0_whoever_is_watching(tmp_path: Path, number: signal.Signals) -> None:
    with running_agent(tmp_path / "data") as agent:
        watch = agent.watch()
        (worker,) = agent.workers()
        began = time.monotonic()
        assert agent.end(number) == 0
        assert time.monotonic() - began < 5
        assert watch.ended.wait(5)
        assert not Path(f"/proc/{worker}").exists()
        assert agent.lines == [f"listening on http://127.0.0.1:{agent.port}\n"], "and it says nothing else"


@pytest.mark.parametrize("number", [signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2])
def test_it_always_has_one_worker(tmp_path: Path, number: signal.Signals) -> None:
    with running_agent(tmp_path / "data") as agent:
        before = agent.workers()
        os.kill(agent.process.pid, number)
        wait_until(lambda: any("ignored" in line for line in agent.lines))
        assert agent.workers() == before


def test_it_listens_on_ipv6_too(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("--listen", "[::1]:0", "--data", str(tmp_path / "data")),
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert line.startswith("listening on http://[::1]:")
