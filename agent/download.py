"""Downloading one artifact over HTTP into a partial file: bounded, and resumed where it broke off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import msgspec
import requests
from urllib3.exceptions import HTTPError

from agent.artifact_limits import ArtifactError, Limits, check_cancelled
from config.bounds import ARTIFACT_ATTEMPTS, ARTIFACT_REDIRECTS

_CONNECT_SECONDS, _READ_SECONDS = 5, 30
_CHUNK_BYTES = 256 * 1024
_PAUSE_SECONDS = 0.25


class Validator(msgspec.Struct, frozen=True):
    """By what a server tells one content of a URL from another."""

    etag: str = ""
    modified: str = ""

    @property
    def strong(self) -> str:
        """What proves that a part of a file belongs to the rest of it; "" if nothing does."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def conditions(self) -> dict[str, str]:
        """Headers that ask for a content only if it is another one."""
        headers = {"If-None-Match": self.etag, "If-Modified-Since": "" if self.etag else self.modified}
        return {name: value for name, value in headers.items() if value}


class _BrokenError(Exception):
    """An attempt has failed in a way that another one may not."""


class _Session(requests.Session):
    """Follows no redirect: it would first read all that comes with one into memory, however much that is."""

    def get_redirect_target(self, resp: Any) -> None:
        """Nowhere, whatever the response says."""


@contextmanager
def _get(url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
    """The response of whom a URL leads to, its body not read yet.

    Raises ArtifactError, RequestException, and ValueError for a redirect to what is no URL.
    """
    with _Session() as session:
        for _ in range(ARTIFACT_REDIRECTS + 1):
            timeout = (_CONNECT_SECONDS, _READ_SECONDS)
            with session.get(url, stream=True, timeout=timeout, headers=headers) as response:
                if not response.is_redirect:
                    yield response
                    return
                # HTTP's headers come as Latin-1, and URLs are UTF-8.
                to = response.headers["Location"].encode("latin-1").decode("utf-8", "replace")
                url = urljoin(url, to)
    raise ArtifactError(f"more than {ARTIFACT_REDIRECTS} redirects")


_VALIDATOR = msgspec.json.Decoder(Validator)


def read_validator(path: Path) -> Validator | None:
    """What was kept beside a file; None if nothing was, or it can't be read."""
    try:
        return _VALIDATOR.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


class Download:
    """One download into `part`; what came so far stays there when it breaks off, for the next.

    `checked`: a checksum will prove the whole, so that any part may be gone on with. `conditions`: headers
    for the first request of all.
    """

    def __init__(
        self, url: str, part: Path, limits: Limits, *, checked: bool, conditions: Mapping[str, str]
    ) -> None:
        self._url = url
        self._part = part
        self._beside = part.with_name(part.name + ".validator")
        self._limits = limits
        self._checked = checked
        self._conditions = conditions
        self.resumed = False

    def run(self, cancelled: threading.Event) -> Validator | None:
        """Download it all; None if the conditions say that what is there is as good. Raises ArtifactError."""
        deadline = time.monotonic() + self._limits.seconds
        attempts, furthest = 0, self._size()
        while True:
            try:
                return self._attempt(cancelled, deadline)
            except _BrokenError as error:
                attempts = 0 if self._size() > furthest else attempts
                furthest = max(furthest, self._size())
                attempts += 1
                if attempts >= ARTIFACT_ATTEMPTS:
                    raise ArtifactError(f"download failed: {error}") from error
                cancelled.wait(_PAUSE_SECONDS * attempts)
            self._check(cancelled, deadline)

    def forget(self) -> None:
        """Begin anew the next time."""
        self._part.unlink(missing_ok=True)
        self._beside.unlink(missing_ok=True)

    def _check(self, cancelled: threading.Event, deadline: float) -> None:
        check_cancelled(cancelled)
        if time.monotonic() > deadline:
            raise ArtifactError(f"not fetched within {self._limits.seconds:g} s")

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _attempt(self, cancelled: threading.Event, deadline: float) -> Validator | None:
        known = read_validator(self._beside) or Validator()
        size = self._size()
        if size and not (known.strong or self._checked):
            self.forget()
            size = 0
        # As it is stored there: an encoding on the way would count other bytes.
        headers = {"Accept-Encoding": "identity"}
        if size:
            headers |= {"Range": f"bytes={size}-"} | ({"If-Range": known.strong} if known.strong else {})
        else:
            headers |= self._conditions
        try:
            with _get(self._url, headers) as response:
                if response.status_code == 304 and not size:
                    return None
                begin = self._begin(response, size)
                if not begin:
                    known = Validator(
                        response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
                    )
                    self._beside.write_bytes(msgspec.json.encode(known))
                self.resumed = self.resumed or begin > 0
                self._save(response, begin, cancelled, deadline)
        except (requests.RequestException, HTTPError, ValueError) as error:
            raise _BrokenError(str(error)) from error
        return known

    def _begin(self, response: requests.Response, size: int) -> int:
        """From which byte on the reply goes, by its status."""
        status = response.status_code
        if status == 206 and size and response.headers.get("Content-Range", "").startswith(f"bytes {size}-"):
            return size
        if status == 200:
            return 0
        said = f"the server answered {status} {response.reason}"
        if status in (206, 416) and size:
            self.forget()
            raise _BrokenError(said)
        if status == 429 or status >= 500:
            raise _BrokenError(said)
        raise ArtifactError(said)

    def _save(
        self, response: requests.Response, size: int, cancelled: threading.Event, deadline: float
    ) -> None:
        with self._part.open("ab" if size else "wb") as file:
            # What has come, not a whole chunk: from a slow server that would take for ever to cancel.
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                size += len(chunk)
                if size > self._limits.download_bytes:
                    self.forget()
                    raise ArtifactError(f"more than {self._limits.download_bytes} bytes")
                self._check(cancelled, deadline)
                file.write(chunk)
