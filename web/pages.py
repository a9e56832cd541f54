"""Whole replies as bytes: made once, shared by all readers until something shown changes.

The ETag is taken from the content, so every worker gives the same one, and a change that shows nothing
new costs no reader anything. It is weak because compressed and plain bytes share it.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib

import falcon.asgi

from web import limits

_GZIP_WINDOW = 31
_GZIP_LEVEL = 1


def digest(data: bytes) -> bytes:
    """What stands for a content in an ETag."""
    return hashlib.blake2b(data, digest_size=12).digest()


class Page:
    """One reply: its bytes and its ETag; compressed when the first reader asks for that."""

    def __init__(self, body: bytes, content_type: str, content_digest: bytes | None = None) -> None:
        self.body = body
        self.content_type = content_type
        self.etag = f'W/"{(content_digest or digest(body)).hex()}"'
        self._gzipped: asyncio.Task[bytes] | None = None

    async def gzipped(self) -> bytes:
        """The compressed bytes, made in a thread: the event loop has others to serve."""
        if self._gzipped is None or self._gzipped.cancelled():
            self._gzipped = asyncio.create_task(asyncio.to_thread(_gzip, self.body))
        return await asyncio.shield(self._gzipped)


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(data) + packer.flush()


async def send_page(
    req: falcon.asgi.Request, resp: falcon.asgi.Response, page: Page, *, compress: bool
) -> None:
    """Reply with a page, or with 304 when the client holds it already."""
    resp.set_header("ETag", page.etag)
    resp.set_header("Cache-Control", "no-cache")
    if matches(req.get_header("If-None-Match"), page.etag):
        resp.status = 304
        return
    resp.content_type = page.content_type
    resp.data = page.body
    if compress and len(page.body) >= limits.SMALLEST_COMPRESSED_BYTES:
        resp.set_header("Vary", "Accept-Encoding")
        if accepts_gzip(req.get_header("Accept-Encoding") or ""):
            resp.set_header("Content-Encoding", "gzip")
            resp.data = await page.gzipped()


def matches(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match names this ETag (weak comparison, RFC 9110 8.8.3.2)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    plain = etag.removeprefix("W/")
    return any(each.strip().removeprefix("W/") == plain for each in header.split(","))


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding allows gzip."""
    for each in header.lower().split(","):
        coding, _, parameters = each.partition(";")
        if coding.strip() in ("gzip", "x-gzip"):
            quality = parameters.replace(" ", "").removeprefix("q=")
            return not quality or quality.strip("0.") != ""
    return False
