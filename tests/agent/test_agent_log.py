"""The log of a task: stamped, bounded, nothing lost without a word."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from agent import log as log_module
from agent.log import TaskLog
from agent.readers import Reader, read_along, stamped


def append(directory: Path, text: str | bytes) -> None:
    with (directory / "output").open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def texts(lines: list[str]) -> list[str]:
    return [line.partition("]:")[2] for line in lines]


def test_the_stamp_is_that_of_svlogd() -> None:
    now = datetime(2026, 11, 23, 12, 12, 27, 580950, tzinfo=timezone(timedelta(hours=1)))
    assert (
        stamped("web-ec609ab-0", "hello", now) == "2026-11-23_11:12:27.58095 container[web-ec609ab-0]:hello"
    )
    assert stamped("a", "", now.replace(microsecond=9)).startswith("2026-11-23_11:12:27.00000 ")


def test_lines_are_taken_once_they_are_whole(tmp_path: Path) -> None:
    log = TaskLog("a", tmp_path)
    log.follow()
    assert log.history(10) == []
    append(tmp_path, "one\ntw")
    log.follow()
    assert texts(log.history(10)) == ["one"]
    append(tmp_path, "o\n\nthree")
    log.follow()
    assert texts(log.history(10)) == ["one", "two", ""]
    log.follow(last=True)
    assert texts(log.history(10)) == ["one", "two", "", "three"]
    log.follow(last=True)
    assert texts(log.history(2)) == ["", "three"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d:\d\d:\d\d\.\d{5} container\[a\]:three", log.history(1)[0])


def test_the_next_agent_goes_on_where_this_one_was(tmp_path: Path) -> None:
    append(tmp_path, "one\ntwo\n")
    TaskLog("a", tmp_path).follow()
    append(tmp_path, "three\n")
    log = TaskLog("a", tmp_path)
    log.follow()
    assert texts(log.history(10)) == ["one", "two", "three"]


def test_what_is_no_text_does_no_harm(tmp_path: Path) -> None:
    log = TaskLog("a", tmp_path)
    append(tmp_path, b"\xff\xfe\0\x1b[31m\xe2\x80\xa8\r\n")
    log.follow()
    assert texts(log.history(10)) == ["\ufffd\ufffd\0\x1b[31m\u2028\r"]


def test_a_line_without_an_end_is_cut(tmp_path: Path) -> None:
    log = TaskLog("a", tmp_path)
    append(tmp_path, "x" * 150_000 + "\nnext\n")
    log.follow()
    assert [len(text) for text in texts(log.history(10))] == [65536, 65536, 150_000 - 2 * 65536, 4]
    append(tmp_path, "y" * 70_000)
    log.follow()
    assert sum(map(len, texts(log.history(10)))) == 150_000 + 4 + 70_000


def test_both_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "LARGEST_LOG_BYTES", 50_000)
    log = TaskLog("a", tmp_path)
    for number in range(40):
        append(tmp_path, "".join(f"{number}.{line} {'x' * 80}\n" for line in range(100)))
        log.follow()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes["log"] + sizes["log.1"] < 3 * 50_000
    output = (tmp_path / "output").stat()
    assert output.st_blocks * 512 < 150_000, "what was read is given back to the disk"
    last = [text.split()[0] for text in texts(log.history(150))]
    assert last == [f"{number}.{line}" for number in (38, 39) for line in range(100)][-150:]


def test_a_task_that_writes_too_fast_leaves_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "LARGEST_BACKLOG_BYTES", 1000)
    log = TaskLog("a", tmp_path)
    append(tmp_path, "first\n")
    log.follow()
    append(tmp_path, "x" * 2000 + "\n")
    log.follow()
    append(tmp_path, "last\n")
    log.follow()
    assert texts(log.history(10)) == ["first", "... 2001 bytes lost, the task writes too fast ...", "last"]


def test_history_reads_as_far_back_as_needed(tmp_path: Path) -> None:
    log = TaskLog("a", tmp_path)
    lines = [f"{number} {'x' * 50}" for number in range(5000)]
    append(tmp_path, "\n".join(lines) + "\n")
    log.follow()
    for count in (1, 10, 1000, 4999, 5000, 6000):
        assert texts(log.history(count)) == lines[-count:]


def test_a_reader_gets_each_line_once_after_the_history(tmp_path: Path) -> None:
    async def read() -> list[list[str]]:
        log = TaskLog("a", tmp_path)
        append(tmp_path, "one\ntwo\n")
        log.follow()
        reader = Reader("a", asyncio.get_running_loop())
        got = [log.subscribe(reader, 1)]
        for text in ("three\n", "four\nfive\n"):
            append(tmp_path, text)
            log.follow()
            got.append(await reader.next(5) or [])
        got.append(await reader.next(0.01) or [])
        log.end()
        assert await reader.next(5) is None
        return got

    assert [texts(lines) for lines in asyncio.run(read())] == [["two"], ["three"], ["four", "five"], []]


def test_a_slow_reader_finds_a_gap(tmp_path: Path) -> None:
    async def read() -> list[str]:
        log = TaskLog("a", tmp_path)
        reader = Reader("a", asyncio.get_running_loop())
        log.subscribe(reader, 0)
        for start in (0, 900):
            append(tmp_path, "".join(f"{number}\n" for number in range(start, start + 900)))
            log.follow()
        return await reader.next(5) or []

    lines = texts(asyncio.run(read()))
    assert lines[:1000] == [str(number) for number in range(1000)]
    assert lines[1000:] == ["... 800 lines lost, the reader is too slow ..."]


def test_a_stream_is_history_then_lines_then_keep_alives(tmp_path: Path) -> None:
    async def read() -> list[bytes]:
        log = TaskLog("a", tmp_path)
        append(tmp_path, "<one>\ntwo\n")
        log.follow()
        stream = read_along(log, 10, keep_alive_seconds=0.01)
        got = [await anext(stream), await anext(stream)]
        append(tmp_path, "three\n")
        log.follow()
        got.append(await anext(stream))
        log.end()
        assert [left async for left in stream if left != b": still here\n"] == []
        return got

    history, silence, line = asyncio.run(read())
    assert re.fullmatch(
        rb'data: \["\S+ container\[a\]:\\u003cone\\u003e","\S+ container\[a\]:two"\]\n\n', history
    )
    assert silence == b": still here\n"
    assert re.fullmatch(rb'data: \["\S+ container\[a\]:three"\]\n\n', line)


def test_stamps_are_in_utc() -> None:
    assert stamped("a", "", datetime(2026, 1, 1, tzinfo=UTC)).startswith("2026-01-01_00:00:00.00000 ")
