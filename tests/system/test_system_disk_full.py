"""The scheduler's disk is full, really: a file system of 1 MB, mounted in a namespace of its own.

Whoever may not mount there (a container without the right to make user namespaces) can't run these tests:
they are skipped, and say so.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from system_harness import Agent, Place, Scheduler, agent, job, leftovers, running, wait_until

SIZE = "1m"


class SmallDisk:
    """A file system of its own at `path`, seen only by what runs at `place`; others use /proc."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        script = 'mount -t tmpfs -o "size=$1,mode=700" tmpfs "$2" && echo mounted && exec cat'
        self.holder = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", SIZE, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.holder.stdout is not None
        self.mounted = self.holder.stdout.readline() == "mounted\n"
        enter = ("nsenter", f"--target={self.holder.pid}", "--user", "--mount", "--preserve-credentials")
        self.place = Place(within=enter)
        self._seen = Path(f"/proc/{self.holder.pid}/root{path}")

    def why_not(self) -> str:
        """What the kernel said when it was not mounted."""
        assert self.holder.stderr is not None
        self.end()
        return self.holder.stderr.read().strip()

    def fill(self, leaving_bytes: int = 0) -> None:
        """Take all the room there is, but for so much."""
        disk = os.statvfs(self._seen)
        with contextlib.suppress(OSError), (self._seen / "filler").open("ab", buffering=0) as filler:
            filler.write(bytes(disk.f_bavail * disk.f_frsize - leaving_bytes))
            while not leaving_bytes:
                filler.write(b"x")

    def free(self) -> None:
        """Give it back."""
        (self._seen / "filler").unlink()

    def end(self) -> None:
        """Unmount, by ending the last who is in there."""
        self.holder.kill()
        self.holder.wait()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("unshare and nsenter (util-linux) are needed to mount a small disk")
    disk = SmallDisk(tmp_path / "disk")
    if not disk.mounted:
        pytest.skip(f"a small disk can't be mounted here: {disk.why_not()}")
    yield disk
    disk.end()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Agent]:
    """An agent whose disk is not full."""
    with agent(tmp_path / "host", "--name", "host") as standing:
        yield standing


def arguments(disk: SmallDisk, host: Agent) -> list[str]:
    return ["serve", "--data", str(disk.path), "--agent", f"host={host.address}"]


def put(scheduler: Scheduler, name: str, starts: Path) -> requests.Response:
    return requests.put(
        f"{scheduler.url}/api/v1/jobs/test/system/{name}",
        json=job(name, starts=starts),
        headers={"Idempotency-Key": f"key-{name}"},
        timeout=20,
    )


def jobs(scheduler: Scheduler) -> set[str]:
    return {each["job"] for each in scheduler.get("/api/v1/jobs").json()["jobs"]}


def health(scheduler: Scheduler) -> tuple[int, list[str]]:
    answer = scheduler.get("/health/ready")
    return answer.status_code, answer.json()["why"]


def troubled(scheduler: Scheduler) -> bool:
    return 'harpoon_actor_troubled{actor="registry"} 1' in scheduler.get("/metrics").text


def check_refused(answer: requests.Response, disk: SmallDisk) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    detail = answer.json()["detail"]
    assert "database or disk is full" in detail
    assert f"{disk.path}/registry.db" in detail
    assert "nothing has changed" in detail


def check_started_once(starts: Path, names: set[str]) -> None:
    """A task is running a moment before its own first line is written, so each line is waited for."""
    wait_until(lambda: set(starts.read_text().split()) >= names, "each task was started")
    assert sorted(starts.read_text().split()) == sorted(names), "each task was started once"


def test_a_full_disk_refuses_changes_leaves_tasks_alone_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: SmallDisk, host: Agent
) -> None:
    starts = tmp_path / "starts"
    with running(arguments(disk, host), tmp_path / "scheduler", disk.place) as scheduler:
        assert put(scheduler, "before", starts).status_code == 201
        scheduler.wait_running("before", 1)
        assert health(scheduler)[0] == 200

        disk.fill()
        check_refused(put(scheduler, "during", starts), disk)
        assert jobs(scheduler) == {"before"}, "reads go on, and a refused request changes nothing"
        wait_until(lambda: health(scheduler)[0] == 503, "health says so")
        assert "disk is full" in " ".join(health(scheduler)[1])
        assert troubled(scheduler)
        scheduler.wait_running("before", 1)

        disk.free()
        wait_until(lambda: health(scheduler) == (200, []), "well again, though nobody has asked for anything")
        assert not troubled(scheduler)
        assert put(scheduler, "during", starts).status_code == 201, "the same request, repeated"
        scheduler.wait_running("during", 1)
        check_started_once(starts, {"before", "during"})


def test_what_was_acknowledged_until_the_disk_was_full_survives_kill_9(
    tmp_path: Path, disk: SmallDisk, host: Agent
) -> None:
    starts = tmp_path / "starts"
    accepted: set[str] = set()
    with running(arguments(disk, host), tmp_path / "scheduler", disk.place) as scheduler:
        assert put(scheduler, "first", starts).status_code == 201
        accepted.add("first")
        scheduler.wait_running("first", 1)
        disk.fill(leaving_bytes=150_000)  # which jobs take, until one of their commits finds no room
        refused = ""
        for number in range(200):
            name = f"job{number}"
            answer = put(scheduler, name, starts)
            if answer.status_code != 201:
                check_refused(answer, disk)
                refused = name
                break
            accepted.add(name)
        assert refused, "200 jobs do not fill it"
        assert len(accepted) > 1
        scheduler.process.kill()
        scheduler.process.wait()
        wait_until(lambda: not leftovers(tmp_path / "scheduler"), "all of it gone")

    # It comes up while the disk is full, too, and shows what it has.
    with running(arguments(disk, host), tmp_path / "scheduler", disk.place) as scheduler:
        assert jobs(scheduler) == accepted
        disk.fill()
        check_refused(put(scheduler, refused, starts), disk)
        disk.free()
        wait_until(lambda: put(scheduler, refused, starts).status_code == 201, "accepted, with room")
        for name in accepted | {refused}:
            scheduler.wait_running(name, 1)
        check_started_once(starts, accepted | {refused})
