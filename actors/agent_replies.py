"""HTTP/1.1 replies from bytes, without I/O: feed what arrives, get the body as it comes.

As much of RFC 9112 as a client needs that sends one request at a time: heads, bodies by length, in chunks,
or until the connection ends.
"""

from __future__ import annotations

import re

from config.bounds import LARGEST_REPLY_HEAD_BYTES
from scheduling import batch_wire

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: |\r\n|$)")
_HEADER = re.compile(rb"(?i)\r\n(content-length|connection|transfer-encoding|harpoon-batch):[ \t]*([^\r\n]*)")
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,15}")
_LENGTH = re.compile(rb"\d{1,15}")
_TAKES = batch_wire.HEADER.lower().encode()
_WITHOUT_BODY = (204, 304)
# Where in a chunked body we are.
_SIZE_LINE, _DATA, _DATA_END, _TRAILERS = range(4)


class BadReplyError(Exception):
    """What came is no HTTP reply."""


class ReplyParser:
    """One reply. `status` is 0 until its head is there, `began` says whether anything is."""

    __slots__ = (
        "_at",
        "_buffer",
        "_chunked",
        "_left",
        "batch_items",
        "began",
        "done",
        "keep_alive",
        "status",
    )

    def __init__(self) -> None:
        self.status = 0
        self.began = False
        self.done = False
        self.keep_alive = True
        # What the agent says of the batch extension (`scheduling.batch_wire`); 0: nothing.
        self.batch_items = 0
        self._buffer = b""
        self._chunked = False
        self._at = _SIZE_LINE
        # Of the body, or of the present chunk; None: it ends with the connection.
        self._left: int | None = 0

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body. Raises BadReplyError; also for more than the reply."""
        self.began = True
        while not self.status:
            data = self._buffer + data
            end = data.find(b"\r\n\r\n")
            if not data.startswith(b"HTTP/1."[: len(data)]):
                raise BadReplyError(f"no status line: {data[:60]!r}")
            if end < 0:
                if len(data) > LARGEST_REPLY_HEAD_BYTES:
                    raise BadReplyError(f"the head has more than {LARGEST_REPLY_HEAD_BYTES} bytes")
                self._buffer = data
                return b""
            self._take_head(data[:end])
            self._buffer, data = b"", data[end + 4 :]
        if self._chunked:
            return self._take_chunks(data)
        if self._left is None:
            return data
        if len(data) > self._left:
            raise BadReplyError("more than a reply came")
        self._left -= len(data)
        self.done = self._left == 0
        return data

    def ended(self) -> bool:
        """The connection has ended: whether that was the end of this reply, too."""
        if self.status and self._left is None and not self._chunked:
            self.done = True
        return self.done

    def _take_head(self, head: bytes) -> None:
        line = _STATUS_LINE.match(head)
        if line is None:
            raise BadReplyError(f"no status line: {head[:60]!r}")
        status = int(line[2])
        if 100 <= status < 200:
            return  # the real one follows
        headers = {name.lower(): value.strip().lower() for name, value in _HEADER.findall(head)}
        connection = headers.get(b"connection", b"")
        self.keep_alive = connection == b"keep-alive" if line[1] == b"0" else connection != b"close"
        length = headers.get(b"content-length")
        if status in _WITHOUT_BODY:
            self._left = 0
        elif b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"] != b"chunked":
                raise BadReplyError(f"the transfer encoding {headers[b'transfer-encoding'][:60]!r}")
            self._chunked = True
        elif length is None:
            self._left, self.keep_alive = None, False
        elif _LENGTH.fullmatch(length):
            self._left = int(length)
        else:
            raise BadReplyError(f"the content length {length[:60]!r}")
        batch_items = headers.get(_TAKES, b"")
        self.batch_items = int(batch_items) if _LENGTH.fullmatch(batch_items) else 0
        self.status = status
        self.done = self._left == 0 and not self._chunked

    def _take_chunks(self, data: bytes) -> bytes:
        data = self._buffer + data if self._buffer else data
        body: list[bytes] = []
        at, end = 0, 0
        while at < len(data) and end >= 0 and not self.done:
            if self._at == _DATA:
                left = self._left or 0
                body.append(data[at : at + left])
                at += len(body[-1])
                self._left = left - len(body[-1])
                if not self._left:
                    ended = data.startswith(b"\r\n", at)
                    at += 2 if ended else 0
                    self._at = _SIZE_LINE if ended else _DATA_END
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LARGEST_REPLY_HEAD_BYTES:
                    raise BadReplyError("a line between chunks without an end")
                continue
            self._take_line(data[at:end])
            at = end + 2
        self._buffer = data[at:]
        if self.done and self._buffer:
            raise BadReplyError("more than a reply came")
        return b"".join(body)

    def _take_line(self, line: bytes) -> None:
        """A line between the data of chunks."""
        if self._at == _SIZE_LINE:
            size = line.partition(b";")[0].strip()
            if not _SIZE.fullmatch(size):
                raise BadReplyError(f"the chunk size {size[:60]!r}")
            self._left = int(size, 16)
            self._at = _DATA if self._left else _TRAILERS
        elif self._at == _DATA_END:
            if line:
                raise BadReplyError("a chunk that is longer than its size")
            self._at = _SIZE_LINE
        elif not line:
            self.done = True
