"""What was committed survives `kill -9` in mid-write, and a log that was cut off: hundreds of times.

`HARPOON_KILLS` says how often each is tried; `make soak` tries it thousands of times.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import time
from pathlib import Path

import pytest

from actors.store import FILE_NAME, Store
from scheduling.answer import Answer
from scheduling.desired import AGENT, PLACEMENT, Agent, Copy, Placement
from scheduling.replica import Changes

KILLS = int(os.environ.get("HARPOON_KILLS", "300"))
# A case takes some 10 ms; a slow disk may take ten times that.
pytestmark = pytest.mark.timeout(120 + KILLS // 4)
# Longer than a few commits take, so that a kill hits any part of one.
LONGEST_LIFE_SECONDS = 0.008
# Large enough that a commit is many pages and many writes.
ROWS, LABEL = 12, "x" * 900
BEGUN, DONE = b"b", b"d"
_NOTE = struct.Struct("=cq")
Request = dict[str, tuple[str, Answer]]


def commit(store: Store, version: int) -> None:
    """A version that shows whether it is there as a whole: rows are new, changed and deleted, all at once."""
    changes: Changes = {
        (PLACEMENT, f"t-{row}"): Placement(task=f"t-{row}", generation=version, copies=(Copy("a", "run"),))
        for row in range(ROWS)
    }
    changes[AGENT, f"n{version}"] = Agent(
        name="n", endpoint="http://h:1", labels={"x": LABEL}, version=version
    )
    changes[AGENT, f"n{version - 3}"] = None
    answer = Answer(result="changed", message=LABEL, version=version)
    store.commit(version, changes, {f"r{version}": (f"asked {version}", answer)})


def check_whole(store: Store) -> int:
    """The version that is there; fails unless all of it is, and nothing of any other."""
    version, state = store.load()
    if version == 0:
        assert not state
        return 0
    assert {row.generation for key, row in state.items() if key[0] == PLACEMENT} == {version}
    agents = {key[1] for key in state if key[0] == AGENT}
    assert agents == {f"n{number}" for number in range(max(1, version - 2), version + 1)}
    known = [number for number in range(1, version + 3) if store.answer(f"r{number}") is not None]
    assert known == list(range(1, version + 1)), "an answer goes with its change"
    return version


def commit_for_ever(directory: Path, notes: int) -> None:
    """In a child: commit, and say so, until killed."""
    store = Store(directory)
    version = store.load()[0]
    while True:
        version += 1
        os.write(notes, _NOTE.pack(BEGUN, version))
        commit(store, version)
        os.write(notes, _NOTE.pack(DONE, version))


def killed(directory: Path, life_seconds: float) -> tuple[int, int]:
    """Let a child commit, and kill it; returns the last version that it began, and the last it had done."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            commit_for_ever(directory, writer)
        finally:
            os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as notes:
        # Its life begins with its first commit: what comes before is not what is looked at here.
        said = [_NOTE.unpack(notes.read(_NOTE.size))]
        time.sleep(life_seconds)  # not a wait for anything: any instant will do
        os.kill(child, signal.SIGKILL)
        rest = notes.read()
        said += _NOTE.iter_unpack(rest[: len(rest) // _NOTE.size * _NOTE.size])
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL, "it ended by itself"
    begun = max(version for what, version in said if what == BEGUN)
    return begun, max((version for what, version in said if what == DONE), default=0)


def test_what_was_acknowledged_survives_a_kill_at_any_instant(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(7)
    in_mid_write = there = 0
    for number in range(KILLS):
        if number % 100 == 0:
            # Answers are counted one by one: not for ever more of them.
            shutil.rmtree(tmp_path / "data", ignore_errors=True)
            (tmp_path / "data").mkdir()
            Store(tmp_path / "data").close()
            version = 0
        begun, done = killed(tmp_path / "data", rng.uniform(0.0, LONGEST_LIFE_SECONDS))
        acknowledged = max(done, version)
        store = Store(tmp_path / "data")
        version = check_whole(store)
        store.close()
        assert acknowledged <= version <= begun, f"kill {number} of {KILLS}"
        in_mid_write += begun > done
        there += version > acknowledged
    with capsys.disabled():
        print(f"\n{KILLS} kills, {in_mid_write} in mid-commit, {there} of those commits were on disk")  # noqa: T201
    assert in_mid_write > KILLS / 2, "most must hit a commit, or nothing is tested"


def test_a_log_that_is_cut_off_anywhere_gives_a_whole_version(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A power cut: of what was written last only a part has reached the disk, or something else."""
    rng = random.Random(11)
    store = Store(tmp_path)
    ends = [0]
    log = Path(f"{store.path}-wal")
    for version in range(1, 9):
        commit(store, version)
        ends.append(log.stat().st_size)
    whole = log.read_bytes()
    copy = tmp_path / "copy"
    copy.mkdir()
    for number in range(KILLS):
        shutil.copy(store.path, copy / FILE_NAME)
        cut = rng.randrange(len(whole))
        tail = rng.choice((b"", rng.randbytes(rng.randrange(8192)), bytes(8192)))
        (copy / f"{FILE_NAME}-wal").write_bytes(whole[:cut] + tail)
        again = Store(copy)
        version = check_whole(again)
        again.close()
        synced = max(number for number, end in enumerate(ends) if end <= cut)
        assert version in (synced, synced + 1), (
            f"cut {number}: {synced} versions were synced before byte {cut}"
        )
    store.close()
    with capsys.disabled():
        print(f"\n{KILLS} cuts of a log of {len(whole)} bytes")  # noqa: T201
