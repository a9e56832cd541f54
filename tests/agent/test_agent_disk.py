"""A full disk, really: no more tasks, and those that run go on. And what is on disk before what is said."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import Agent, config, running_agent, shell, wait_until

from agent import store as store_module
from agent.disks import lack_of_disk, usage
from agent.log import TaskLog
from agent.settings import Settings
from agent.store import Record, Store
from scheduling.job import ContainerConfig

MOUNT = 'mount -t tmpfs -o size=20m,mode=700 tmpfs "$0" && exec "$@"'
PRIVATE = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT]


@contextlib.contextmanager
def agent_with(data: Path, options: str) -> Iterator[Agent]:
    """An agent whose data directory is a small file system, in a namespace of its own."""
    data.mkdir()
    launcher = [word.replace("size=20m", options) for word in (*PRIVATE, str(data))]
    tried = subprocess.run([*launcher, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"no file system can be mounted here: {tried.stderr.strip()}")
    flags = ("--disk-reserve-mb", "4", "--metrics-seconds", "600")
    with running_agent(data, *flags, launcher=launcher) as agent:
        yield agent


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    """One with 20 MB."""
    with agent_with(tmp_path / "data", "size=20m") as agent:
        yield agent


def seen(agent: Agent) -> Path:
    """The agent's data directory as the agent sees it."""
    return Path(f"/proc/{agent.process.pid}/root{agent.data}")


def fill(agent: Agent, leaving_bytes: int) -> Path:
    """Take the room on the agent's disk, but for so much."""
    disk = os.statvfs(seen(agent))
    filler = seen(agent) / "filler"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        file.write(bytes(max(0, disk.f_bavail * disk.f_frsize - leaving_bytes)))
        while not leaving_bytes:
            file.write(b"x")
    return filler


def begin(agent: Agent, name: str, wanted: dict[str, Any]) -> None:
    assert agent.call("PUT", f"/containers/{name}", wanted).status == 201
    assert agent.call("POST", f"/containers/{name}/start").status == 202
    wait_until(lambda: agent.instance(name)["process_state"]["up"])


def test_below_its_reserve_it_takes_no_more_tasks_and_says_so(agent: Agent) -> None:
    begin(agent, "stays-0", config())
    filler = fill(agent, 3 * 1024 * 1024)
    reply = agent.call("PUT", "/containers/new-0", config())
    assert reply.status == 500
    assert reply.body.decode().startswith(f"no room: the disk of {agent.data} is full, ")
    assert reply.body.decode().endswith(" MB are free and 4 kept for what runs\n")
    assert agent.instance("new-0") is None
    assert agent.instance("stays-0")["process_state"]["up"]
    filler.unlink()
    assert agent.call("PUT", "/containers/new-0", config()).status == 201


def test_with_no_byte_left_what_runs_goes_on_ends_and_starts_again(agent: Agent) -> None:
    begin(agent, "stays-0", shell("while :; do echo line; sleep 0.01; done"))
    begin(agent, "stops-0", config())
    begin(agent, "dies-0", config("sleep", "1234", restart="on-failure"))
    filler = fill(agent, 0)
    assert agent.call("PUT", "/containers/new-0", config()).status == 500
    agent.stop("stops-0")
    agent.wait_for("stops-0", "finished")
    os.kill(wait_until(lambda: pid_of("sleep 1234")), signal.SIGKILL)
    # It can't be started as long as its process could not be written down; that is no end of it.
    wait_until(lambda: "No space left" in agent.instance("dies-0")["process_state"].get("err", ""))
    assert agent.instance("dies-0")["status"] == "running"
    filler.unlink()
    wait_until(lambda: agent.instance("dies-0")["process_state"]["up"])
    wait_until(lambda: pid_of("sleep 1234"))
    assert agent.instance("stays-0")["process_state"]["up"]
    before = len(agent.log("stays-0"))
    wait_until(lambda: len(agent.log("stays-0")) > before, "its log goes on")
    assert agent.call("DELETE", "/containers/stops-0").status == 200


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("exit 0", {"exited": True}),
        ("exit 7", {"exited": True, "exit_status": 7}),
        ("exit 137", {"exited": True, "exit_status": 137}),
        ("kill -SEGV ${D}${D}", {"signaled": True, "signal": 11}),
    ],
)
def test_with_no_byte_left_a_task_still_ends_as_it_ended(
    agent: Agent, tmp_path: Path, script: str, ended: dict[str, Any]
) -> None:
    go = tmp_path / "go"
    wait = f"while [ ! -e {go} ]; do sleep 0.01; done"
    begin(agent, "ends-0", shell(f"{wait}; {script}", restart="no", env={"D": "$"}))
    fill(agent, 0)
    go.touch()
    state = agent.wait_for("ends-0", "finished")["process_state"]
    assert state["container_exit_status"] == ended


def test_where_not_one_more_file_can_be_made_room_can_be_made(tmp_path: Path) -> None:
    with agent_with(tmp_path / "data", "size=20m,nr_inodes=100") as agent:
        begin(agent, "stays-0", config())
        begin(agent, "goes-0", config("true"))
        agent.wait_for("goes-0", "finished")
        with pytest.raises(OSError, match="No space left"):
            for number in range(100):
                (seen(agent) / f"filler{number}").touch()
        reply = agent.call("PUT", "/containers/new-0", config())
        assert (reply.status, reply.body) == (500, b"cannot store the container: No space left on device\n")
        assert agent.call("DELETE", "/containers/goes-0").status == 200
        assert agent.instance("stays-0")["process_state"]["up"]
        wait_until(lambda: agent.call("PUT", "/containers/new-0", config()).status == 201)


def pid_of(command_line: str) -> int:
    words = command_line.replace(" ", "\0").encode() + b"\0"
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            found = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if found.endswith(words) and b"shim.sh" not in found:
                return int(entry.name)
    return 0


def test_how_full_its_disks_are_is_part_of_its_resources(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    flags = ("--volume", str(volume), "--volume", "/no/such/volume")
    with running_agent(tmp_path / "data", *flags) as agent:
        disks = agent.call("GET", "/resources").json()["disks"]
        assert set(disks) == {str(agent.data), str(volume)}
        real = shutil.disk_usage(volume)
        assert disks[str(volume)]["total"] == real.total
        assert 0 < disks[str(volume)]["free"] <= real.total


def test_the_reserve_is_what_is_free(tmp_path: Path) -> None:
    free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize
    assert lack_of_disk(tmp_path, 0) == ""
    assert "is full" in lack_of_disk(tmp_path, free * 2 + 1)


def test_a_volume_that_can_not_be_asked_is_left_out(tmp_path: Path) -> None:
    settings = Settings(
        host="", port=0, data=tmp_path, name="", cpu_cores=1, memory_mb=1, volumes=("/nowhere",)
    )
    assert set(usage(settings)) == {str(tmp_path)}


def test_lines_that_the_disk_took_in_part_come_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "output").write_text("one\ntwo\n")
    log = TaskLog("a", tmp_path)
    real = os.write

    class Full:
        def __init__(self, file: Any) -> None:
            self.file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, content: bytes) -> int:
            if real(self.file.fileno(), content[:20]) == 20 and len(content) < 200:
                raise OSError(28, "No space left on device")
            return 20

    opened = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path, "open", lambda path, mode="r", **more: _full(opened(path, mode, **more), mode, Full)
        )
        log.follow()
    assert (tmp_path / "log").read_bytes() == b""
    log.follow(last=True)
    assert [line.partition("]:")[2] for line in log.history(9)] == ["one", "two"]


def _full(file: Any, mode: str, wrap: Any) -> Any:
    return wrap(file) if mode == "ab" else file


class Recorder:
    """What reaches the disk, in order: (what, path)."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[tuple[str, str]] = []
        fsync, rename = os.fsync, Path.rename
        sync_disk = store_module._sync_disk

        def recorded_fsync(descriptor: int) -> None:
            self.told.append(("fsync", Path(f"/proc/self/fd/{descriptor}").readlink().name))
            fsync(descriptor)

        def recorded_rename(path: Path, to: Path) -> Path:
            self.told.append(("rename", to.name))
            return rename(path, to)

        def recorded_sync(path: Path) -> None:
            self.told.append(("syncfs", path.name))
            sync_disk(path)

        monkeypatch.setattr(os, "fsync", recorded_fsync)
        monkeypatch.setattr(Path, "rename", recorded_rename)
        monkeypatch.setattr(store_module, "_sync_disk", recorded_sync)

    def take(self) -> list[tuple[str, str]]:
        told, self.told = self.told, []
        return told


def test_what_must_survive_a_power_cut_is_on_disk_in_the_right_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "containers").mkdir()
    store, recorder = Store(tmp_path), Recorder(monkeypatch)
    store.create("a-0", ContainerConfig(), Record())
    # Content before name, name before the name of the directory; the config, which makes it count, last.
    files = [
        step
        for name in ("state", "config")
        for step in (("fsync", f"{name}.new"), ("rename", name), ("fsync", "a-0"))
    ]
    assert recorder.take() == [*files, ("fsync", "containers")]
    staging = store.staging()
    (staging / "root").mkdir()
    store.settle(staging)
    store.place(staging, "a-0")
    assert recorder.take() == [("syncfs", staging.name), ("rename", "root")]
    store.save("a-0", Record())
    store.make_durable("a-0")
    assert recorder.take() == [("rename", "state"), ("fsync", "state"), ("fsync", "a-0")]
    store.remove("a-0")
    store.make_removals_durable()
    (renamed, name), synced = recorder.take()
    assert renamed == "rename"
    assert name.endswith("-a-0")
    assert synced == ("fsync", "containers")
