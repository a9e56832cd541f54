"""The example of the `oci` driver: what its head says makes an archive of which a container really runs."""

from __future__ import annotations

import shutil
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from agent_harness import REPOSITORY, running_agent, wait_until
from exec_client import ExecClient

EXAMPLE = REPOSITORY / "examples/boxed.yaml"
STEPS = ("mkdir ", "cp ", "echo ", "tar ")


def steps(folder: Path) -> list[str]:
    """The commands at the head of the example that make its archive, in another folder."""
    words = [line.removeprefix("#   ") for line in EXAMPLE.read_text().splitlines()]
    return [word.replace("/tmp/", f"{folder}/") for word in words if word.startswith(STEPS)]


def test_it_is_made_as_it_says_and_answers(tmp_path: Path) -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed on this host")
    made = steps(tmp_path)
    assert len(made) == len(STEPS)
    subprocess.run(["sh", "-ec", "\n".join(made)], check=True, stdin=subprocess.DEVNULL)
    wanted: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    wanted["artifact_url"] = wanted["artifact_url"].replace("/tmp/", f"{tmp_path}/")
    with running_agent(tmp_path / "data") as agent:
        if "oci" not in agent.call("GET", "/resources").json().get("drivers", []):
            pytest.skip(f"the oci driver does not work here: {''.join(agent.lines)}")
        agent.run("boxed-0", wanted)
        wait_until(lambda: (agent.instance("boxed-0").get("health") or {}).get("state") == "healthy")
        port = agent.instance("boxed-0")["config"]["ports"]["HTTP"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            assert answer.read() == b"hello from a box\n"
        path = f"ws://127.0.0.1:{agent.port}/api/v1/containers/boxed-0/exec"
        with ExecClient(path, "busybox", "ps") as client:
            client.end()
            # The program is the first process there, and beside it there is only this one.
            seen = [line.split() for line in client.out.splitlines()[1:]]
            assert [words[-1] for words in seen if words[0] == b"1" and b"httpd" in words]
            assert len(seen) == 2
