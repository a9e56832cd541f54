"""Archives of a few KB that would take gigabytes of the agent's memory: each is refused before it does."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_agent_artifact import GOOD, fetch_bytes, member, tar

from agent.artifact import ArtifactError, Limits

_MEMORY_BYTES = 24 * 1024 * 1024  # far less than any of these would take
_ZEROS_BYTES = 64 * 1024 * 1024


@contextmanager
def refused(told: str) -> Iterator[None]:
    """An archive is refused, says why, and has not taken much memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match=told):
            yield
        assert tracemalloc.get_traced_memory()[1] < _MEMORY_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_by_a_method_that_is_unpacked_at_once(tmp_path: Path, method: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, archive.open("zeros", "w") as file:
        for _ in range(_ZEROS_BYTES >> 20):
            file.write(bytes(1 << 20))
    content = bytearray(buffer.getvalue())
    struct.pack_into("<L", content, content.index(b"PK\x01\x02") + 24, 10)  # so small, it says
    with refused(f"'zeros' is packed by method {method}; it must be stored or deflated"):
        fetch_bytes(tmp_path, bytes(content))


def sparse(holes: int) -> bytes:
    """A tar with a file that says of itself to have so many holes."""
    content = b"%d\n" % holes + b"0\n" * (2 * holes)
    headers = {"major": "1", "minor": "0", "name": "x", "realsize": "10"}
    info = tarfile.TarInfo("x")
    info.size = len(content)
    info.pax_headers = {f"GNU.sparse.{name}": value for name, value in headers.items()}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_a_tar_with_a_file_of_very_many_holes(tmp_path: Path) -> None:
    content = gzip.compress(sparse(2_000_000))
    with refused("unsafe archive: its headers are too large for what is in it"):
        fetch_bytes(tmp_path, content, Limits())
    (tmp_path / "few").mkdir()
    assert (fetch_bytes(tmp_path / "few", sparse(10)) / "x").stat().st_size == 10


def test_a_tar_that_says_very_much_of_all_its_members(tmp_path: Path) -> None:
    parts = []
    for number in range(20):
        words = {f"word{number}.{each}": "x" * 1000 for each in range(1000)}
        parts.append(tarfile.TarInfo.create_pax_global_header(words))
        parts.append(tar(member(f"file{number}", b""))[:512])
    content = b"".join(parts) + bytes(1024)
    with refused("unsafe archive: its headers are too large for what is in it"):
        fetch_bytes(tmp_path, content, Limits())


def test_a_tar_with_long_names_everywhere_is_none_of_these(tmp_path: Path) -> None:
    names = [f"{number:04}/" + "x" * 200 + "/" + "y" * 200 for number in range(600)]
    root = fetch_bytes(tmp_path, tar(*(member(name, b"1") for name in names)), Limits())
    assert all((root / name).exists() for name in names)


def test_an_xz_that_asks_for_much_memory(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 256 << 20}]
    content = lzma.compress(GOOD, filters=filters)
    with refused("not a usable tar archive: Memory usage limit exceeded"):
        fetch_bytes(tmp_path, content)


@pytest.mark.parametrize("preset", [0, 9])
def test_xz_in_several_streams_is_understood(tmp_path: Path, preset: int) -> None:
    # As parallel compressors write them, and padded, as the format allows.
    content = tar(member("large", os.urandom(300_000)))
    packed = b"".join(
        lzma.compress(content[at : at + 100_000], preset=preset) + bytes(8)
        for at in range(0, len(content), 100_000)
    )
    root = fetch_bytes(tmp_path, packed, Limits())
    assert (root / "large").read_bytes() == content[512 : 512 + 300_000]


@pytest.mark.parametrize("content", [lzma.compress(GOOD)[:150], lzma.compress(GOOD)[:30], b"\xfd7zXZ\0"])
def test_an_xz_that_is_cut_short(tmp_path: Path, content: bytes) -> None:
    with refused("not a usable tar archive: "):
        fetch_bytes(tmp_path, content)
