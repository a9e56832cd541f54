"""Artifacts from strangers: the kinds that are understood, and all that must be refused."""

from __future__ import annotations

import bz2
import gzip
import http.server
import io
import lzma
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.artifact import ArtifactError, Limits, fetch

SMALL = Limits(download_bytes=200_000, unpacked_bytes=100_000, members=50, seconds=10)


def member(name: str, content: bytes = b"", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def fetch_bytes(directory: Path, content: bytes, limits: Limits = SMALL) -> Path:
    """Fetch an archive of these bytes; returns the root."""
    source = directory / "source.tar"
    source.write_bytes(content)
    staging = directory / "staging"
    staging.mkdir()
    fetch(source.as_uri(), staging, threading.Event(), limits)
    assert [entry.name for entry in staging.iterdir()] == ["root"], "only the root is left"
    return staging / "root"


GOOD = tar(
    member("bin", type=tarfile.DIRTYPE, mode=0o755),
    member("bin/web", b"#!/bin/sh\n", mode=0o4775),
    member("bin/www", type=tarfile.SYMTYPE, linkname="web"),
    member("up", type=tarfile.SYMTYPE, linkname="bin/web"),
    member("bin/home", type=tarfile.SYMTYPE, linkname="../bin"),
    member("same", type=tarfile.LNKTYPE, linkname="bin/web", mode=0o4775),
    member("./deep/down/file", b"x"),
)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_the_kinds_that_are_understood(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    root = fetch_bytes(tmp_path, compress(GOOD))
    assert (root / "bin/www").read_bytes() == b"#!/bin/sh\n"
    assert (root / "up").resolve() == (root / "bin/web").resolve()
    assert (root / "same").samefile(root / "bin/web")
    assert (root / "bin/home/web").exists()
    assert (root / "deep/down/file").read_bytes() == b"x"
    mode = (root / "bin/web").stat().st_mode
    assert mode & 0o100, "still executable"
    assert not mode & 0o4022, "but not set-user-id, nor writable for others"


def test_no_url_is_an_empty_root(tmp_path: Path) -> None:
    fetch("", tmp_path, threading.Event())
    assert list((tmp_path / "root").iterdir()) == []


HOSTILE: dict[str, tuple[bytes, str]] = {
    "traversal": (tar(member("../escaped", b"x")), "'../escaped' is not inside it"),
    "hidden traversal": (tar(member("a/../../escaped", b"x")), "is not inside it"),
    "absolute name": (tar(member("/escaped", b"x")), "'/escaped' is not inside it"),
    "long name": (tar(member("a/" * 600 + "x", b"x")), "is not inside it"),
    "absolute symlink": (
        tar(member("l", type=tarfile.SYMTYPE, linkname="/etc")),
        "link 'l' leads to '/etc'",
    ),
    "symlink out": (tar(member("a/l", type=tarfile.SYMTYPE, linkname="../../x")), "link 'a/l' leads to"),
    "symlink out through another": (
        tar(
            member("dot", type=tarfile.SYMTYPE, linkname="."),
            member("out", type=tarfile.SYMTYPE, linkname="dot/dot/.."),
        ),
        "link 'out' leads to 'dot/dot/..'",
    ),
    "file through a symlink": (
        tar(
            member("d", type=tarfile.DIRTYPE),
            member("l", type=tarfile.SYMTYPE, linkname="d"),
            member("l/x", b"x"),
        ),
        "'l/x' passes through the link 'l'",
    ),
    "file over a symlink": (
        tar(member("l", type=tarfile.SYMTYPE, linkname="target"), member("l", b"x")),
        "'l' would be written through a link",
    ),
    "hard link out": (
        tar(member("h", type=tarfile.LNKTYPE, linkname="../../source.tar")),
        "is not inside it",
    ),
    "absolute hard link": (
        tar(member("h", type=tarfile.LNKTYPE, linkname="/etc/passwd")),
        "is not inside it",
    ),
    "hard link through a symlink": (
        tar(
            member("l", type=tarfile.SYMTYPE, linkname="x"),
            member("h", type=tarfile.LNKTYPE, linkname="l"),
        ),
        "'h' passes through the link 'l'",
    ),
    "hard link to nothing": (
        tar(member("h", type=tarfile.LNKTYPE, linkname="x")),
        "'h' links to what it lacks",
    ),
    "character device": (
        tar(member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        "is a device or FIFO",
    ),
    "block device": (tar(member("disk", type=tarfile.BLKTYPE)), "is a device or FIFO"),
    "fifo": (tar(member("pipe", type=tarfile.FIFOTYPE)), "is a device or FIFO"),
    "too many members": (tar(*(member(f"f{i}") for i in range(51))), "more than 50 members"),
    "too large": (
        gzip.compress(tar(member("zeros", b"\0" * 100_001))),
        "more than 50 members or 100000 bytes",
    ),
    "bomb": (
        # What is in extra headers is in no member's size.
        gzip.compress(tar(*(member(f"f{i}", pax_headers={"comment": "x" * 100_000}) for i in range(9)))),
        "more than 202400 bytes unpacked",
    ),
    "not an archive": (b"#!/bin/sh\necho hello\n" * 100, "not a usable tar archive"),
    "empty": (b"", "not a usable tar archive"),
    "cut short": (gzip.compress(GOOD)[:-30], "not a usable tar archive"),
    "broken gzip": (b"\x1f\x8b" + b"x" * 100, "not a usable tar archive"),
    "too large a download": (b"x" * 200_001, "more than 200000 bytes"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(tmp_path: Path, name: str) -> None:
    content, told = HOSTILE[name]
    with pytest.raises(ArtifactError) as refused:
        fetch_bytes(tmp_path, content)
    assert told in str(refused.value)
    assert "source.tar" in str(refused.value), "it names the artifact"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["source.tar", "staging"]
    assert (tmp_path / "source.tar").read_bytes() == content


def test_a_header_that_claims_gigabytes_costs_no_memory(tmp_path: Path) -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(ArtifactError, match=r"unsafe archive: a header of \d+ bytes"):
        fetch_bytes(tmp_path, header + b"\0" * 10_000, Limits())


def test_a_header_with_a_negative_size_ends(tmp_path: Path) -> None:
    info = tarfile.TarInfo("backwards")
    info.size = -1024
    content = tar(member("first", b"x" * 600))[:1536] + info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10_000
    with pytest.raises(ArtifactError):
        fetch_bytes(tmp_path, content)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: None, "No such file or directory"),
        (lambda path: path.mkdir(), "not a regular file"),
        (os.mkfifo, "not a regular file"),
    ],
)
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], object], told: str) -> None:
    make(tmp_path / "source")
    with pytest.raises(ArtifactError, match=told):
        fetch((tmp_path / "source").as_uri(), tmp_path, threading.Event())


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves GOOD, and all that can go wrong with it."""

    def do_GET(self) -> None:
        if self.path == "/missing.tar":
            self.send_error(404)
            return
        self.send_response(302 if self.path == "/moved.tar" else 200)
        if self.path == "/moved.tar":
            self.send_header("Location", "/good.tar")
        length = len(GOOD) + (100 if self.path == "/short.tar" else 0)
        self.send_header("Content-Length", str(0 if self.path == "/moved.tar" else length))
        self.end_headers()
        if self.path != "/moved.tar":
            self.wfile.write(GOOD)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("path", ["/good.tar", "/moved.tar"])
def test_an_artifact_over_http(tmp_path: Path, url: str, path: str) -> None:
    fetch(url + path, tmp_path, threading.Event())
    assert (tmp_path / "root/bin/web").exists()


@pytest.mark.parametrize(
    ("path", "told"),
    [("/missing.tar", "the server answered 404 Not Found"), ("/short.tar", "download failed: ")],
)
def test_a_download_that_fails(tmp_path: Path, url: str, path: str, told: str) -> None:
    with pytest.raises(ArtifactError, match=told):
        fetch(url + path, tmp_path, threading.Event())
    assert [entry.name for entry in tmp_path.iterdir()] == ["root"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"artifact http://127\.0\.0\.1:9/x\.tar: download failed"):
        fetch("http://127.0.0.1:9/x.tar", tmp_path, threading.Event())


def test_a_cancelled_fetch_ends(tmp_path: Path, url: str) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ArtifactError, match="cancelled"):
        fetch(url + "/good.tar", tmp_path, cancelled)
