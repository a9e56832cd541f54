"""The cache of artifacts: one download for many, gone on with where it broke off, and cleaned."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_harness import wait_until
from test_agent_artifact import GOOD, SMALL

from agent.artifact import ArtifactError, fetch
from agent.artifact_cache import ArtifactCache

SHA = hashlib.sha256(GOOD).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` with ranges and validators, as it is told; `asked` are the headers of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.etag = GOOD, '"one"'
        self.asked: list[dict[str, str]] = []
        self.breaks_after: list[int] = []
        self.statuses: list[int] = []
        self.ranges = True
        self.wrong_range = False
        self.opened = threading.Event()
        self.opened.set()
        self.url = f"http://127.0.0.1:{self.server_port}/web.tar"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.asked.append({name.lower(): value for name, value in self.headers.items()})
        server.opened.wait(20)
        if server.statuses and (status := server.statuses.pop(0)) != 200:
            self.send_error(status)
            return
        if server.etag and self.headers.get("If-None-Match") == server.etag:
            self.send_response(304)
            self.end_headers()
            return
        start = 0
        asked = self.headers.get("Range", "")
        if asked and server.ranges and self.headers.get("If-Range", server.etag) == server.etag:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        rest = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first = 0 if server.wrong_range else start
            self.send_header(
                "Content-Range", f"bytes {first}-{len(server.content) - 1}/{len(server.content)}"
            )
        if server.etag:
            self.send_header("ETag", server.etag)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: server.breaks_after.pop(0)] if server.breaks_after else rest)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.opened.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def cache(tmp_path: Path) -> ArtifactCache:
    return ArtifactCache(tmp_path / "artifacts", 10**9, 3600.0)


def get(server: Server, cache: ArtifactCache, place: Path, sha256: str = "", **more: Any) -> Path:
    place.mkdir()
    fetch(server.url, place, more.pop("cancelled", threading.Event()), SMALL, sha256=sha256, cache=cache)
    assert (place / "root/bin/web").exists()
    return place


def kept(tmp_path: Path) -> list[str]:
    """What is in the cache, without the names' hashes."""
    return sorted(path.name[64:] for path in (tmp_path / "artifacts").iterdir())


def test_with_a_checksum_it_is_downloaded_once_for_all_time(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    get(server, cache, tmp_path / "a", SHA)
    server.shutdown()
    server.server_close()
    get(server, cache, tmp_path / "b", SHA)
    get(server, ArtifactCache(tmp_path / "artifacts", 10**9, 3600.0), tmp_path / "c", SHA)
    assert len(server.asked) == 1
    assert kept(tmp_path) == ["", ".validator"]


def test_without_one_the_server_is_asked_whether_it_has_another(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    get(server, cache, tmp_path / "a")
    get(server, cache, tmp_path / "b")
    assert [asked.get("if-none-match") for asked in server.asked] == [None, '"one"']
    server.content, server.etag = GOOD + b"\0" * 1024, '"two"'
    get(server, cache, tmp_path / "c")
    get(server, cache, tmp_path / "d")
    assert [asked.get("if-none-match") for asked in server.asked[2:]] == ['"one"', '"two"']


def test_without_validators_it_is_downloaded_each_time(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.etag = ""
    get(server, cache, tmp_path / "a")
    get(server, cache, tmp_path / "b")
    assert len(server.asked) == 2


@pytest.mark.parametrize("sha256", ["", SHA])
def test_many_at_once_share_one_download(
    tmp_path: Path, server: Server, cache: ArtifactCache, sha256: str
) -> None:
    server.etag = ""
    server.opened.clear()
    places = [tmp_path / f"p{number}" for number in range(8)]
    threads = [threading.Thread(target=get, args=(server, cache, place, sha256)) for place in places]
    for thread in threads:
        thread.start()
    wait_until(lambda: cache.waiting(server.url, sha256) == 8, "all of them wait")
    server.opened.set()
    for thread in threads:
        thread.join(20)
    assert all((place / "root/bin/web").exists() for place in places)
    assert len(server.asked) == 1


def test_what_breaks_off_is_gone_on_with(tmp_path: Path, server: Server, cache: ArtifactCache) -> None:
    server.breaks_after = [3000, 2000]
    get(server, cache, tmp_path / "a", SHA)
    assert [asked.get("range") for asked in server.asked] == [None, "bytes=3000-", "bytes=5000-"]
    assert [asked.get("if-range") for asked in server.asked] == [None, '"one"', '"one"']
    assert {asked["accept-encoding"] for asked in server.asked} == {"identity"}


def test_another_agent_goes_on_too(tmp_path: Path, server: Server) -> None:
    server.breaks_after = [3000, 0, 0]
    with pytest.raises(ArtifactError, match="download failed"):
        get(server, ArtifactCache(tmp_path / "artifacts", 10**9, 3600.0), tmp_path / "a")
    assert kept(tmp_path) == [".part", ".part.validator"]
    get(server, ArtifactCache(tmp_path / "artifacts", 10**9, 3600.0), tmp_path / "b")
    assert server.asked[-1]["range"] == "bytes=3000-"


def test_a_server_that_has_another_one_by_then_begins_anew(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.breaks_after = [3000, 0, 0]
    with pytest.raises(ArtifactError):
        get(server, cache, tmp_path / "a")
    server.content, server.etag = GOOD + b"\0" * 1024, '"two"'
    get(server, cache, tmp_path / "b")


def test_without_anything_that_proves_it_no_part_is_gone_on_with(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.etag, server.breaks_after = "", [3000]
    get(server, cache, tmp_path / "a")
    assert [asked.get("range") for asked in server.asked] == [None, None]


def test_a_part_of_another_content_is_found_out_by_the_checksum(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.etag, server.content, server.breaks_after = "", b"other" * 2000, [3000, 0, 0]
    with pytest.raises(ArtifactError):
        get(server, cache, tmp_path / "a", SHA)
    server.content = GOOD
    get(server, cache, tmp_path / "b", SHA)
    assert [asked.get("range") for asked in server.asked[3:]] == ["bytes=3000-", None]


def test_a_server_that_answers_another_range_is_not_believed(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.breaks_after, server.wrong_range = [3000], True
    get(server, cache, tmp_path / "a", SHA)
    assert [asked.get("range") for asked in server.asked] == [None, "bytes=3000-", None]


def test_a_wrong_checksum_is_refused_and_nothing_is_kept(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    with pytest.raises(ArtifactError, match=f"web.tar: its SHA-256 is {SHA}, not {'0' * 64}"):
        get(server, cache, tmp_path / "a", "0" * 64)
    assert kept(tmp_path) == []
    assert len(server.asked) == 1


def test_a_kept_one_that_was_changed_on_disk_is_downloaded_again(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    get(server, cache, tmp_path / "a", SHA)
    (path,) = (path for path in (tmp_path / "artifacts").iterdir() if len(path.name) == 64)
    path.write_bytes(b"evil" * 3000)
    get(server, cache, tmp_path / "b", SHA)
    assert len(server.asked) == 2


@pytest.mark.parametrize(("statuses", "works"), [([503, 429], True), ([503] * 3, False), ([404], False)])
def test_a_server_in_trouble_is_asked_again_and_one_that_refuses_is_not(
    tmp_path: Path, server: Server, cache: ArtifactCache, statuses: list[int], works: bool
) -> None:
    server.statuses = list(statuses)
    if works:
        get(server, cache, tmp_path / "a")
    else:
        with pytest.raises(ArtifactError, match=f"the server answered {statuses[0]}"):
            get(server, cache, tmp_path / "a")
    assert len(server.asked) == len(statuses) + works


def test_one_that_waits_for_another_s_download_can_be_cancelled(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    server.opened.clear()
    first = threading.Thread(target=get, args=(server, cache, tmp_path / "a"))
    first.start()
    wait_until(lambda: server.asked)
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(ArtifactError, match="cancelled"):
        get(server, cache, tmp_path / "b", cancelled=cancelled)
    server.opened.set()
    first.join(20)


def aged(cache: ArtifactCache, server: Server, tmp_path: Path, *ages: float) -> list[str]:
    """Artifacts last used so many seconds ago; returns the urls."""
    urls = []
    for number, age in enumerate(ages):
        server.url = server.url.partition("?")[0] + f"?{number}"
        get(server, cache, tmp_path / f"aged-{number}", SHA)
        urls.append(server.url)
        name = hashlib.sha256(f"{server.url}\n{SHA}".encode()).hexdigest()
        os.utime(tmp_path / "artifacts" / name, (time.time() - age,) * 2)
    return urls


def left(tmp_path: Path, urls: list[str]) -> list[int]:
    return [
        number
        for number, url in enumerate(urls)
        if (tmp_path / "artifacts" / hashlib.sha256(f"{url}\n{SHA}".encode()).hexdigest()).exists()
    ]


def test_it_is_cleaned_by_age(tmp_path: Path, server: Server, cache: ArtifactCache) -> None:
    urls = aged(cache, server, tmp_path, 4000.0, 3000.0)
    cache.clean()
    assert left(tmp_path, urls) == [1]
    assert kept(tmp_path) == ["", ".validator"]


def test_it_is_cleaned_by_space_the_longest_unused_first(
    tmp_path: Path, server: Server, cache: ArtifactCache
) -> None:
    urls = aged(cache, server, tmp_path, 100.0, 300.0, 200.0)
    ArtifactCache(tmp_path / "artifacts", 2 * len(GOOD) + 10, 3600.0).clean()
    assert left(tmp_path, urls) == [0, 2]
    server.url = urls[2]
    get(server, cache, tmp_path / "again", SHA)
    ArtifactCache(tmp_path / "artifacts", len(GOOD) + 10, 3600.0).clean()
    assert left(tmp_path, urls) == [2], "it was used last"


def test_nothing_is_kept_where_there_is_no_room_for_it(tmp_path: Path, server: Server) -> None:
    get(server, ArtifactCache(tmp_path / "artifacts", 0, 3600.0), tmp_path / "a")
    assert kept(tmp_path) == []


def test_a_full_disk_takes_what_is_kept_for_later(
    tmp_path: Path, server: Server, cache: ArtifactCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    aged(cache, server, tmp_path, 10.0, 20.0)
    monkeypatch.setattr("agent.download.Download.run", _full)
    server.url += "/other"
    with pytest.raises(OSError, match="No space left"):
        get(server, cache, tmp_path / "a")
    assert kept(tmp_path) == []


def _full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_local_file_has_its_checksum_looked_at_too(tmp_path: Path) -> None:
    source = tmp_path / "source.tar"
    source.write_bytes(GOOD)
    for name, sha256 in (("a", SHA), ("b", "0" * 64)):
        (tmp_path / name).mkdir()
        if sha256 == SHA:
            fetch(source.as_uri(), tmp_path / name, threading.Event(), sha256=sha256)
        else:
            with pytest.raises(ArtifactError, match="its SHA-256 is"):
                fetch(source.as_uri(), tmp_path / name, threading.Event(), sha256=sha256)
    assert (tmp_path / "a/root/bin/web").exists()
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["root"]
