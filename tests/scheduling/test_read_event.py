"""Events of agents are read with each config once."""

from __future__ import annotations

import msgspec
import pytest
from rules_made import instance

from scheduling.canonical import go_json
from scheduling.container import STATE_EVENT_DECODER, StateEvent, read_event


def test_it_reads_what_the_wire_format_says() -> None:
    event = StateEvent(containers={task: instance(task, "running") for task in ("web-1-0", "web-1-1")})
    data = go_json(event)
    assert read_event(data) == STATE_EVENT_DECODER.decode(data) == event
    assert read_event(b"{}") == StateEvent()
    assert read_event(b'{"containers":{"a":{}}}') == STATE_EVENT_DECODER.decode(b'{"containers":{"a":{}}}')


def test_equal_configs_are_one_and_the_same() -> None:
    data = go_json(StateEvent(containers={"web-1-0": instance("web-1-0", "created")}))
    first, second = read_event(data).containers["web-1-0"], read_event(data).containers["web-1-0"]
    assert first.config is second.config


def test_a_config_that_is_none_is_no_event() -> None:
    for config in (b"[]", b'{"grace":{"startup":"soon"}}', b'{"scale":'):
        with pytest.raises((msgspec.MsgspecError, ValueError)):
            read_event(b'{"containers":{"a":{"config":' + config + b"}}}")
