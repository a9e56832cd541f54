"""What a request may ask to be run: ids and ContainerConfigs, read and judged."""

from __future__ import annotations

import msgspec

from agent.lifecycle import Refusal, RefusedError
from agent.store import valid_id
from scheduling.job import CONTAINER_CONFIG_DECODER, ContainerConfig
from scheduling.validation import container_problems


def check_id(container_id: str) -> None:
    """Raises RefusedError (400) for what can't be the id of a container."""
    if not valid_id(container_id):
        text = f"container id {container_id!r} must be 1 to 200 letters, digits, '_', '.' or '-'"
        raise RefusedError(Refusal(400, text))


def read_config(body: bytes) -> ContainerConfig:
    """The ContainerConfig in a request. Raises RefusedError (400) that tells all that is wrong with it."""
    try:
        config = CONTAINER_CONFIG_DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise RefusedError(Refusal(400, f"not a ContainerConfig: {error}")) from error
    except RecursionError as error:
        raise RefusedError(Refusal(400, "not a ContainerConfig: nested too deeply")) from error
    if problems := container_problems(config):
        raise RefusedError(Refusal(400, "; ".join(map(str, problems))))
    return config
