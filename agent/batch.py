"""The batch extension: many puts, starts, stops and deletes in one request (`scheduling.batch_wire`)."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from agent.configs import check_id, read_config
from agent.lifecycle import Refusal, RefusedError
from agent.runtime import Runtime
from config.bounds import AGENT_BATCH_ITEMS, AGENT_RESULT_CHARACTERS
from scheduling.batch_wire import REQUEST_DECODER, BatchReply, BatchRequest, Item, Result
from scheduling.job import ContainerConfig

_LOG = logging.getLogger(__name__)


def read_batch(body: bytes) -> BatchRequest:
    """The batch in a request. Raises RefusedError: 400 for what is none, 413 for too many items."""
    try:
        batch = REQUEST_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(Refusal(400, f"not a batch: {error}")) from error
    except RecursionError as error:
        raise RefusedError(Refusal(400, "not a batch: nested too deeply")) from error
    if len(batch.items) > AGENT_BATCH_ITEMS:
        text = f"a batch of {len(batch.items)} items; it may have up to {AGENT_BATCH_ITEMS}"
        raise RefusedError(Refusal(413, text))
    for item in batch.items:
        wanted = item.config is not None and 0 <= item.config < len(batch.configs)
        if item.step == "put" and not wanted:
            text = f"the put of {item.container_id!r} names config {item.config} of {len(batch.configs)}"
            raise RefusedError(Refusal(400, text))
    return batch


async def carry_out(runtime: Runtime, batch: BatchRequest) -> BatchReply:
    """Each item as the request that it stands for: different containers at the same time, those of one in
    order."""
    configs = [_read(config) for config in batch.configs]
    by_container: dict[str, list[int]] = {}
    for position, item in enumerate(batch.items):
        by_container.setdefault(item.container_id, []).append(position)
    results: dict[int, Result] = {}

    async def in_order(positions: list[int]) -> None:
        for position in positions:
            results[position] = await _result(runtime, batch.items[position], configs)

    await asyncio.gather(*map(in_order, by_container.values()))
    return BatchReply([results[position] for position in range(len(batch.items))])


def _read(config: msgspec.Raw) -> ContainerConfig | RefusedError:
    """What is wrong with a config is told to each item that names it."""
    try:
        return read_config(bytes(config))
    except RefusedError as refused:
        return refused


async def _result(runtime: Runtime, item: Item, configs: list[ContainerConfig | RefusedError]) -> Result:
    try:
        return await _do(runtime, item, configs)
    except RefusedError as refused:
        return Result(refused.refusal.status, refused.refusal.text[:AGENT_RESULT_CHARACTERS])
    except Exception as error:  # noqa: BLE001 - whatever it is, the other items have results
        _LOG.exception("an item of a batch failed unexpectedly: %s %s", item.step, item.container_id)
        return Result(500, f"unexpected: {type(error).__name__}")


async def _do(runtime: Runtime, item: Item, configs: list[ContainerConfig | RefusedError]) -> Result:
    match item.step:
        case "put":
            check_id(item.container_id)
            config = configs[item.config or 0]
            if isinstance(config, RefusedError):
                raise config
            await runtime.register(item.container_id, config)
            return Result(201, "created OK")
        case "start":
            await runtime.start(item.container_id)
            return Result(202, "start accepted")
        case "stop":
            await runtime.stop(item.container_id)
            return Result(202, "stop accepted")
        case "delete":
            await runtime.destroy(item.container_id)
            return Result(200, "destroy OK")
