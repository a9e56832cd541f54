"""The batch extension of the agents' API: many containers in one request. Both sides speak it from here.

An agent that offers it says so in the head of its event stream, `Harpoon-Batch: N`: N items at most in one
`POST /api/v1/containers/batch`. Old programs ignore the header, and old agents don't send it. Each item asks
what a request of v0 asks, and gets what would have been its status and text; items for one container are
carried out in order. Configs stand apart, each once: tasks of a version share theirs.
"""

from __future__ import annotations

from typing import Literal

import msgspec

HEADER = "Harpoon-Batch"
PATH = "/api/v1/containers/batch"

Step = Literal["put", "start", "stop", "delete"]


class Item(msgspec.Struct, frozen=True):
    """One step of one container; `config` is the position of a put's config in the batch's."""

    container_id: str
    step: Step
    config: int | None = None


class BatchRequest(msgspec.Struct, frozen=True):
    """What is asked for, with the configs as they would stand in the body of a put."""

    items: list[Item]
    configs: list[msgspec.Raw] = []


class Result(msgspec.Struct, frozen=True):
    """The HTTP status and the text of what would have been the reply to one item."""

    status: int
    text: str


class BatchReply(msgspec.Struct, frozen=True):
    """The results, in the order of the items."""

    results: list[Result]


REQUEST_DECODER = msgspec.json.Decoder(BatchRequest)
REPLY_DECODER = msgspec.json.Decoder(BatchReply)


def encode_batch(asked: list[tuple[str, Step, bytes]]) -> bytes:
    """The body of a request for (container, step, config as JSON or nothing)."""
    places: dict[bytes, int] = {}
    items = [
        Item(container_id, step, places.setdefault(config, len(places)) if config else None)
        for container_id, step, config in asked
    ]
    return msgspec.json.encode(BatchRequest(items, [msgspec.Raw(config) for config in places]))
