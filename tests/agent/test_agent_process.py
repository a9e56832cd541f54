"""The process driver by itself: holding a task back, finding it again, programs with odd names."""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from agent_harness import leftovers, wait_until

from agent.driver import Process
from agent.process import ProcessDriver
from agent.store import ProcessMark
from agent.task import StartError, Task
from scheduling.container import ExitStatus


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    """A failed test must not leave its task behind."""
    yield
    for pid in leftovers(tmp_path):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def task(directory: Path, *words: str, program: Path = Path("/bin/sh"), files: int = 0) -> Task:
    working_dir = directory / "root"
    working_dir.mkdir(parents=True, exist_ok=True)
    return Task(
        root=directory / "root",
        directory=directory,
        working_dir=working_dir,
        program=program,
        arguments=list(words),
        env={"A": "1", "-odd name": "2"},
        files=files,
    )


def ended(process: Process) -> ExitStatus | None:
    """Wait for the end as the event loop does."""
    assert select.select([process.descriptor], [], [], 10)[0]
    return process.collect()


def test_a_task_begins_only_when_released(tmp_path: Path) -> None:
    process = ProcessDriver().start(task(tmp_path, "-c", "echo began"))
    assert not (tmp_path / "output").exists()
    process.release()
    assert ended(process) == ExitStatus(exited=True)
    assert (tmp_path / "output").read_text() == "began\n"


def test_a_task_that_is_never_released_never_begins(tmp_path: Path) -> None:
    """As when the agent dies before it has written down which process it started."""
    driver = ProcessDriver()
    process = driver.start(task(tmp_path, "-c", "echo began"))
    assert process._shim.stdin is not None  # type: ignore[attr-defined]
    process._shim.stdin.close()  # type: ignore[attr-defined]
    assert ended(process) is None
    assert driver.find(process.mark, tmp_path) is None
    assert driver.collect(tmp_path) is None
    assert not (tmp_path / "output").exists()


def test_a_living_task_is_found_by_its_mark_and_only_by_that(tmp_path: Path) -> None:
    driver = ProcessDriver()
    process = driver.start(task(tmp_path, "-c", "sleep 1000"))
    process.release()
    mark = process.mark
    found = driver.find(mark, tmp_path)
    assert found is not None
    assert driver.find(ProcessMark(mark.pid, mark.start_ticks + 1, mark.boot_id), tmp_path) is None
    assert driver.find(ProcessMark(mark.pid, mark.start_ticks, "another boot"), tmp_path) is None
    wait_until(found.terminate, "it has begun")
    assert ended(process) == ExitStatus(signaled=True, signal=15)
    os.close(found.descriptor)
    wait_until(lambda: not leftovers(tmp_path))


def test_a_term_is_never_lost_however_early(tmp_path: Path) -> None:
    driver = ProcessDriver()
    for number in range(30):
        process = driver.start(task(tmp_path / str(number), "-c", "sleep 1000"))
        process.release()
        wait_until(process.terminate, "it has begun")
        assert ended(process) == ExitStatus(signaled=True, signal=15)


def test_a_stranger_with_the_number_of_a_lost_task_is_spared(tmp_path: Path) -> None:
    driver = ProcessDriver()
    mine, other = tmp_path / "mine", tmp_path / "other"
    stranger = driver.start(task(other, "-c", "sleep 1000"))
    stranger.release()
    wait_until((other / "output").exists)
    driver.sweep({mine: stranger.mark})
    assert driver.find(stranger.mark, other) is not None
    stranger.kill()
    assert ended(stranger) == ExitStatus(signaled=True, signal=9)


def test_without_an_exit_file_it_was_killed(tmp_path: Path) -> None:
    assert ProcessDriver().collect(tmp_path) == ExitStatus(signaled=True, signal=9)


def test_an_exit_of_an_earlier_run_is_not_taken_for_this_one(tmp_path: Path) -> None:
    driver = ProcessDriver()
    first = driver.start(task(tmp_path, "-c", "exit 3"))
    first.release()
    assert ended(first) == ExitStatus(exited=True, exit_status=3)
    second = driver.start(task(tmp_path, "-c", "sleep 1000"))
    second.release()
    second.kill()
    assert ended(second) == ExitStatus(signaled=True, signal=9)


def test_a_program_with_an_equals_sign_in_its_path(tmp_path: Path) -> None:
    program = tmp_path / "a=b"
    shutil.copy("/bin/echo", program)
    process = ProcessDriver().start(task(tmp_path, "hello", program=program))
    process.release()
    assert ended(process) == ExitStatus(exited=True)
    assert (tmp_path / "output").read_text() == "hello\n"


def test_a_variable_may_have_any_name(tmp_path: Path) -> None:
    process = ProcessDriver().start(task(tmp_path, program=Path("/usr/bin/env")))
    process.release()
    assert ended(process) == ExitStatus(exited=True)
    assert (tmp_path / "output").read_text().splitlines() == ["A=1", "-odd name=2"]


def test_more_files_than_the_host_allows_are_as_many_as_it_allows(tmp_path: Path) -> None:
    process = ProcessDriver().start(task(tmp_path, "-c", "ulimit -n", files=2**40))
    process.release()
    assert ended(process) == ExitStatus(exited=True)
    assert int((tmp_path / "output").read_text()) <= 2**31


def test_a_working_dir_that_has_gone_meanwhile(tmp_path: Path) -> None:
    wanted = task(tmp_path)
    (tmp_path / "root").rmdir()
    with pytest.raises(StartError, match=r"cannot start /bin/sh: .*No such file"):
        ProcessDriver().start(wanted)
