"""Tasks of an agent that is root, as a user that is not."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_harness import Agent, command, config, running_agent, shell, wait_until

from agent.user import User, UserError, find_user

NOBODY = "nobody"


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    if os.geteuid() != 0:
        pytest.skip("only root can run tasks as another user")
    # pytest's own directories are closed to others.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with running_agent(Path(folder) / "data", "--task-user", NOBODY) as one:
            yield one


@pytest.mark.parametrize("driver", ["process", "bubblewrap"])
def test_a_task_is_that_user_and_owns_its_files(agent: Agent, driver: str) -> None:
    if driver not in agent.call("GET", "/resources").json()["drivers"]:
        pytest.skip(f"{driver} does not work here for {NOBODY}")
    name = f"{driver}-0"
    agent.run(name, shell("id -u; id -g; touch /etc/mine; echo 1 >mine; exec sleep 1000", driver=driver))
    wait_until((agent.data / "containers" / name / "root/mine").exists)
    told = wait_until(lambda: agent.log(name)[2:] and agent.log(name))
    user = pwd.getpwnam(NOBODY)
    assert told[:2] == [str(user.pw_uid), str(user.pw_gid)]
    assert any("/etc/mine" in line for line in told[2:])
    assert (agent.data / "containers" / name / "root/mine").stat().st_uid == user.pw_uid
    agent.stop(name)
    ended = agent.wait_for(name, "finished")["process_state"]["container_exit_status"]
    assert ended == {"signaled": True, "signal": 15}


def test_it_can_not_read_what_others_are_told(agent: Agent) -> None:
    agent.create("other-0", config(env={"SECRET": "psst"}))
    agent.run("spy-0", shell(f"cat {agent.data}/containers/other-0/config; kill -9 1; id -G"))
    agent.wait_for("spy-0", "finished")
    told = "\n".join(agent.log("spy-0"))
    assert "psst" not in told
    assert told.count("ermi") == 2, "permission denied, operation not permitted"


def test_a_link_in_an_artifact_gives_nothing_away(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    (tmp_path / "root").mkdir()
    (kept := tmp_path / "kept").touch()
    (tmp_path / "root/link").symlink_to(kept)
    User(12345, 12345).give(tmp_path / "root")
    assert kept.stat().st_uid == 0
    assert (tmp_path / "root/link").lstat().st_uid == 12345


def test_a_user_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    assert find_user("") is None
    why = "there is no user no-such-user" if os.geteuid() == 0 else "only if the agent is root"
    with pytest.raises(UserError, match=why):
        find_user("no-such-user")
    flags = ("--data", str(tmp_path), "--listen", "127.0.0.1:0", "--task-user", "no-such-user")
    done = subprocess.run(command(*flags), check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert why in done.stderr
