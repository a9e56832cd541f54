"""The batch extension at simulated agents: many containers in one request (`scheduling.batch_wire`)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import msgspec

from scheduling.batch_wire import HEADER, PATH, REQUEST_DECODER, Item, Result
from simulation.fleet_wire import JSON, STREAM_HEAD, Request, reply

BATCH_PATH = PATH.encode()
_REPLIES_REMEMBERED = 1024

# Answers one request of v0: its method, target and body.
Answer = Callable[[Request], bytes]


def stream_head(most_items: int) -> bytes:
    """The head of an event stream; it says how many items a batch may have, unless that is 0."""
    if not most_items:
        return STREAM_HEAD
    return STREAM_HEAD[:-2] + f"{HEADER}: {most_items}\r\n\r\n".encode()


def carry_out(body: bytes, most_items: int, answer: Answer) -> bytes:
    """The reply to a batch: what v0 would have answered to each item."""
    try:
        batch = REQUEST_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return reply(400, f"not a batch: {error}\n".encode())
    if len(batch.items) > most_items:
        return reply(413, b"a batch of %d items; it may have up to %d\n" % (len(batch.items), most_items))
    configs = [bytes(config) for config in batch.configs]
    results = [_result(answer(_as_request(item, configs))) for item in batch.items]
    return reply(200, b'{"results":[%b]}\n' % b",".join(results), JSON)


def _as_request(item: Item, configs: list[bytes]) -> Request:
    path = b"/api/v0/containers/" + item.container_id.encode()
    if item.step == "put":
        known = item.config is not None and 0 <= item.config < len(configs)
        return Request(b"PUT", path, configs[item.config or 0] if known else b"", False, False)
    if item.step == "delete":
        return Request(b"DELETE", path, b"", False, False)
    return Request(b"POST", path + b"/" + item.step.encode(), b"", False, False)


@lru_cache(_REPLIES_REMEMBERED)
def _result(answered: bytes) -> bytes:
    head, _, text = answered.partition(b"\r\n\r\n")
    return msgspec.json.encode(Result(int(head.split(b" ", 2)[1]), text.decode("utf-8", "replace").strip()))
