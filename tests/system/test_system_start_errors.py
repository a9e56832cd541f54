"""What is wrong at the start is said in one line; nothing is half started, and nothing is left."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from system_harness import leftovers, run_to_end, running


def _refused(arguments: list[str], directory: Path) -> str:
    """Run `serve` with these; it must end with one line on stderr, which is returned."""
    done = run_to_end(["actors.main", "serve", *arguments], directory)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(directory) == []
    (line,) = done.stderr.splitlines()
    assert line.startswith("harpoon-scheduler: ")
    return line


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = _refused(["--listen", f"127.0.0.1:{port}"], tmp_path)
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_a_data_directory_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    line = _refused(["--listen", "127.0.0.1:0", "--data", str(tmp_path / "file" / "data")], tmp_path)
    assert str(tmp_path / "file") in line


def test_a_corrupt_registry_file(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "registry.db").write_bytes(b"this is no database" * 1000)
    line = _refused(["--listen", "127.0.0.1:0", "--data", str(data)], tmp_path)
    assert "registry.db" in line
    assert (data / "registry.db").read_bytes() == b"this is no database" * 1000


@pytest.mark.parametrize("address", ["nonsense", "ftp://host:1", "host:99999", "host:80/path", "http://"])
def test_an_agent_address_that_is_no_url(tmp_path: Path, address: str) -> None:
    line = _refused(["--listen", "127.0.0.1:0", "--agent", address], tmp_path)
    assert address in line
    assert "HOST:PORT" in line


def test_an_agents_file_with_a_wrong_line(tmp_path: Path) -> None:
    (tmp_path / "agents").write_text("127.0.0.1:1\nwrong wrong wrong\n")
    line = _refused(["--listen", "127.0.0.1:0", "--agents-file", str(tmp_path / "agents")], tmp_path)
    assert "line 2" in line


def test_a_setting_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("lisen = '127.0.0.1:0'\n")
    line = _refused(["--config", str(tmp_path / "my.toml")], tmp_path)
    assert "lisen" in line


def test_an_old_registry_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text('{"a-1234567":{"scale":0}}')
    line = _refused(["--listen", "127.0.0.1:0", "--import", str(tmp_path / "old.json")], tmp_path)
    assert "old.json" in line
    assert "scale" in line


def test_a_second_scheduler_on_the_same_data(tmp_path: Path) -> None:
    with running(["serve", "--data", str(tmp_path / "data")], tmp_path / ".") as first:
        done = run_to_end(
            ["actors.main", "serve", "--listen", "127.0.0.1:0", "--data", str(tmp_path / "data")], tmp_path
        )
        assert done.returncode == 1
        assert "another registry" in done.stderr
        assert first.get("/health/ready").status_code == 200
