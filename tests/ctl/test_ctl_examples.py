"""The examples: right by the scheduler's own rules, and hello really answers."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import urllib.request
from pathlib import Path

import msgspec
import pytest
from ctl_fake_scheduler import DEADLINE_SECONDS, ROOT

from ctl.files import is_job_file, read_job_file
from scheduling.job import JOB_CONFIG_DECODER, unknown_fields
from scheduling.validation import problems

EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if is_job_file(str(path)))


def test_there_is_one_of_each_format() -> None:
    assert {path.suffix for path in EXAMPLES} == {".json", ".yaml", ".toml"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_right(path: Path) -> None:
    job_file = read_job_file(str(path))
    assert unknown_fields(job_file.config) == []
    config = JOB_CONFIG_DECODER.decode(job_file.json())
    assert problems(config) == []
    assert config.job == path.stem
    assert path.name in (ROOT / "examples" / "README.md").read_text()


def test_every_example_has_its_own_job() -> None:
    keys = [str(read_job_file(str(path)).key) for path in EXAMPLES]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_example_loses_a_dollar(path: Path) -> None:
    """An agent replaces $VAR in exec by what env holds: anything else would vanish."""
    config = JOB_CONFIG_DECODER.decode(read_job_file(str(path)).json())
    known = {*(config.env or {}), *(f"PORT_{name}" for name in config.ports or {})}
    for word in config.command.exec or []:
        assert set(re.findall(r"\$\{?([A-Za-z_0-9]*)", word)) <= known


def test_hello_answers(tmp_path: Path) -> None:
    config = msgspec.json.decode((ROOT / "examples" / "hello.json").read_bytes())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = tmp_path / "hello-0a1b2c3-1" / "root"
    place.mkdir(parents=True)
    # As an agent starts it: in a directory of its own, with env and its port as its whole environment.
    env = {**config["env"], "PORT_HTTP": str(port)}
    env["PATH"] += os.pathsep + os.environ["PATH"]  # the python of whoever runs the tests
    with subprocess.Popen(
        config["command"]["exec"],
        cwd=place,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == f"hello-0a1b2c3-1 listens on port {port}\n"
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_SECONDS) as answer:
                assert answer.read().decode() == f"hello from hello-0a1b2c3-1 on port {port}\n"
            assert '"GET / HTTP/1.1" 200' in process.stdout.readline()
            process.terminate()
            assert process.wait(DEADLINE_SECONDS) == 0
        finally:
            process.kill()


def test_toml_and_json_hold_only_what_json_can() -> None:
    for path in EXAMPLES:
        json.loads(read_job_file(str(path)).json())
