"""Server-sent events as bytes that many watchers share."""

from __future__ import annotations

from falcon.asgi import SSEvent
from falcon.media import BaseHandler


class Chunk(SSEvent):
    """Events that are encoded already; the framework sends them as they are."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded

    def serialize(self, handler: BaseHandler | None = None) -> bytes:
        """The bytes, made once however many watchers there are."""
        return self.encoded


KEEP_ALIVE = Chunk(b": keep-alive\n\n")


def event(kind: str, cursor: str, data: bytes) -> bytes:
    """One event; `data` is JSON, so it holds no newline."""
    return b"event: %s\nid: %s\ndata: %s\n\n" % (kind.encode(), cursor.encode(), data)
