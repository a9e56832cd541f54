"""Hostile archives of every kind: each is refused with one clear error, and nothing is left of it."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from test_agent_artifact import GOOD, HOSTILE, SMALL, fetch_bytes, member, tar

from agent.artifact import ArtifactError, Limits


def zst(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(content)


def zst_in_parts(content: bytes) -> bytes:
    """Several frames, as parallel compressors write them."""
    return b"".join(zst(content[start : start + 700]) for start in range(0, len(content), 700))


@pytest.mark.parametrize("pack", [zst, zst_in_parts])
def test_tar_zst_is_understood(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    root = fetch_bytes(tmp_path, pack(GOOD))
    assert (root / "bin/www").read_bytes() == b"#!/bin/sh\n"
    assert (root / "same").samefile(root / "bin/web")
    assert not (root / "bin/web").stat().st_mode & 0o4022


def test_files_of_whole_blocks_and_large_ones_come_out_of_zst(tmp_path: Path) -> None:
    files = {f"f{size}": os.urandom(size) for size in (0, 1, 511, 512, 1024, 70_000)}
    root = fetch_bytes(tmp_path, zst_in_parts(tar(*(member(name, files[name]) for name in files))))
    assert {name: (root / name).read_bytes() for name in files} == files


PLAIN_TARS = [name for name, (content, _) in HOSTILE.items() if content[257:262] == b"ustar"]


def test_most_hostile_archives_are_tried_in_each_way() -> None:
    assert len(PLAIN_TARS) >= 17


@pytest.mark.parametrize("pack", [gzip.compress, zst])
@pytest.mark.parametrize("name", PLAIN_TARS)
def test_what_is_refused_as_tar_is_refused_compressed(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    refused(tmp_path, pack(HOSTILE[name][0]), HOSTILE[name][1])


def refused(directory: Path, content: bytes, told: str, limits: Limits = SMALL) -> None:
    """An archive is refused, says why, and leaves nothing, neither inside nor beside its place."""
    with pytest.raises(ArtifactError) as error:
        fetch_bytes(directory, content, limits)
    assert told in str(error.value)
    assert sorted(entry.name for entry in directory.iterdir()) == ["source.tar", "staging"]
    assert [entry.name for entry in (directory / "staging").iterdir()] == ["root"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, zst])
@pytest.mark.parametrize(
    ("twice", "told"),
    [
        ([member("a", b"1"), member("a", b"2")], "'a' is in it twice"),
        ([member("a", b"1"), member("./a", b"2")], "'./a' is in it twice"),
        ([member("a", b"1"), member("a", type=tarfile.DIRTYPE)], "'a' is in it twice"),
        ([member("a/b", b"1"), member("a", b"2")], "'a' is in it twice"),
        ([member("a", b"1"), member("a", type=tarfile.SYMTYPE, linkname="b")], "'a' is in it twice"),
    ],
)
def test_a_tar_that_names_something_twice(
    tmp_path: Path, twice: list[tuple[tarfile.TarInfo, bytes]], told: str, pack: Callable[[bytes], bytes]
) -> None:
    refused(tmp_path, pack(tar(*twice)), told)


def test_directories_may_be_named_again(tmp_path: Path) -> None:
    again = [member("a", type=tarfile.DIRTYPE), member("a/b", b"1"), member("a", type=tarfile.DIRTYPE)]
    assert (fetch_bytes(tmp_path, tar(*again)) / "a/b").exists()


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_a_bomb_by_ratio(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    few = Limits(unpacked_bytes=10**9, ratio=100, ratio_free_bytes=1000)
    refused(
        tmp_path, pack(tar(member("zeros", b"\0" * 3_000_000))), "more than 100 times as large as packed", few
    )


def test_a_zst_that_asks_for_too_much_memory(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=30, compression_level=1)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    content = stream.compress(tar(member("a", b"x" * 5000))) + stream.flush()
    refused(tmp_path, content, "not a usable tar archive: ")


@pytest.mark.parametrize("content", [zst(GOOD)[:-40], zst(GOOD)[:10] + b"\xff" * 50, b"\x28\xb5\x2f\xfd"])
def test_a_zst_that_is_broken(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content, "not a usable tar archive: ")


# --- zip ----------------------------------------------------------------------------------------------


def entry(
    name: str, content: bytes = b"", mode: int = 0o644, kind: int = stat.S_IFREG
) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | mode) << 16
    info.create_system = 3
    info.compress_type = zipfile.ZIP_DEFLATED
    return info, content


def zipped(*entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is there twice is meant
        for info, content in entries:
            archive.writestr(info, content)
    return buffer.getvalue()


def link(name: str, target: str) -> tuple[zipfile.ZipInfo, bytes]:
    return entry(name, target.encode(), 0o777, stat.S_IFLNK)


GOOD_ZIP = zipped(
    entry("bin/", kind=stat.S_IFDIR, mode=0o755),
    entry("bin/web", b"#!/bin/sh\n", 0o6777),
    entry("plain", b"x", 0o600),
    entry("deep/down/file", b"y" * 1000),
    link("bin/www", "web"),
    link("up", "bin/web"),
    link("bin/home", "../bin"),
)


def test_zip_is_understood(tmp_path: Path) -> None:
    root = fetch_bytes(tmp_path, GOOD_ZIP)
    assert (root / "bin/www").read_bytes() == b"#!/bin/sh\n"
    assert (root / "up").resolve() == (root / "bin/web").resolve()
    assert (root / "bin/home/web").exists()
    assert (root / "deep/down/file").read_bytes() == b"y" * 1000
    assert stat.S_IMODE((root / "bin/web").stat().st_mode) == 0o755, "no set-user-id, nobody else may write"
    assert stat.S_IMODE((root / "plain").stat().st_mode) == 0o644


def test_a_zip_that_was_not_made_on_unix_and_an_empty_one(tmp_path: Path) -> None:
    info, content = entry("a/b", b"x", 0o777, stat.S_IFLNK)
    info.create_system = 0
    assert (fetch_bytes(tmp_path, zipped((info, content))) / "a/b").read_bytes() == b"x"
    (tmp_path / "empty").mkdir()
    assert list(fetch_bytes(tmp_path / "empty", zipped()).iterdir()) == []


def overlapping() -> bytes:
    """Many names for the same compressed bytes, as the bomb of 2019 has."""
    content = bytearray(zipped(entry("a", b"\0" * 90_000)))
    start = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    directory, tail = bytes(content[start:end]), bytearray(content[end:])
    names = [directory.replace(b"a", bytes([letter]), 1) for letter in b"bc"]
    struct.pack_into("<HHL", tail, 8, 3, 3, len(directory) * 3)
    return bytes(content[:start]) + directory + b"".join(names) + bytes(tail)


def lying_about_its_size() -> bytes:
    """It says that it has 10 bytes, and has 50,000."""
    content = bytearray(zipped(entry("liar", b"\0" * 50_000)))
    for magic, at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<L", content, content.index(magic) + at, 10)
        struct.pack_into("<L", content, content.index(magic) + at - 8, zlib.crc32(b"\0" * 10) ^ 1)
    return bytes(content)


def encrypted() -> bytes:
    content = bytearray(zipped(entry("secret", b"x")))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + at] |= 1
    return bytes(content)


def large_directory() -> bytes:
    """The list of members claims to be of a gigabyte."""
    content = bytearray(zipped(entry("a", b"x")))
    struct.pack_into("<L", content, content.index(b"PK\x05\x06") + 12, 2**30)
    return bytes(content)


HOSTILE_ZIP: dict[str, tuple[bytes, str]] = {
    "traversal": (zipped(entry("../escaped", b"x")), "'../escaped' is not inside it"),
    "hidden traversal": (zipped(entry("a/../../escaped", b"x")), "is not inside it"),
    "absolute name": (zipped(entry("/escaped", b"x")), "'/escaped' is not inside it"),
    "long name": (zipped(entry("a/" * 600 + "x", b"x")), "is not inside it"),
    "absolute link": (zipped(link("l", "/etc")), "link 'l' leads to '/etc'"),
    "link out": (zipped(link("a/l", "../../x")), "link 'a/l' leads to '../../x'"),
    "link out through another": (zipped(link("dot", "."), link("out", "dot/dot/..")), "link 'out' leads to"),
    "empty link": (zipped(link("l", "")), "link 'l' leads to ''"),
    "long link": (zipped(link("l", "x" * 5000)), "link 'l' has a target that is too long"),
    "link that is no text": (
        zipped(entry("l", b"\xff\xfe", 0o777, stat.S_IFLNK)),
        "not a usable zip archive",
    ),
    "file through a link": (zipped(link("l", "d"), entry("l/x", b"x")), "'l/x' passes through the link 'l'"),
    "file over a link": (
        zipped(link("l", "target"), entry("l", b"x")),
        "'l' would be written through a link",
    ),
    "twice": (zipped(entry("a", b"1"), entry("a", b"2")), "'a' is in it twice"),
    "file over a directory": (zipped(entry("a/b", b"1"), entry("a", b"2")), "'a' is in it twice"),
    "character device": (zipped(entry("null", kind=stat.S_IFCHR)), "'null' is a device or FIFO"),
    "block device": (zipped(entry("disk", kind=stat.S_IFBLK)), "'disk' is a device or FIFO"),
    "fifo": (zipped(entry("pipe", kind=stat.S_IFIFO)), "'pipe' is a device or FIFO"),
    "socket": (zipped(entry("sock", kind=stat.S_IFSOCK)), "'sock' is a device or FIFO"),
    "too many members": (zipped(*(entry(f"f{i}") for i in range(51))), "more than 50 members"),
    "too large": (zipped(entry("zeros", b"\0" * 100_001)), "more than 50 members or 100000 bytes"),
    "overlapping": (overlapping(), "more than 50 members or 100000 bytes"),
    "lying about its size": (lying_about_its_size(), "not a usable zip archive: "),
    "encrypted": (encrypted(), "'secret' is encrypted"),
    "large directory": (large_directory(), "not a usable zip archive: "),
    "cut short": (GOOD_ZIP[:-30], "not a usable zip archive: "),
    "broken": (
        GOOD_ZIP.replace(b"#!/bin/sh", b"?!/bin/sh")[:60] + b"\xff" * 40 + GOOD_ZIP[100:],
        "not a usable zip",
    ),
}


@pytest.mark.parametrize("name", HOSTILE_ZIP)
def test_hostile_zips_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    refused(tmp_path, *HOSTILE_ZIP[name])


def test_a_zip_bomb_by_ratio(tmp_path: Path) -> None:
    few = Limits(unpacked_bytes=10**9, ratio=100, ratio_free_bytes=1000)
    refused(tmp_path, zipped(entry("zeros", b"\0" * 3_000_000)), "100 times as large as packed", few)


def test_a_zip_list_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.unzip._LARGEST_READ_BYTES", 100_000)
    many = zipped(*(entry(f"{number:0>200}") for number in range(600)))
    refused(tmp_path, many, "unsafe archive: a header of ", Limits())
