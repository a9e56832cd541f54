"""An agent has places for so many streams: one more is refused until one is free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from agent_harness import Watch, running_agent, wait_until

from agent.lifecycle import RefusedError
from agent.places import Places
from config.bounds import AGENT_MOST_WATCHERS


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield b"event"


def test_a_place_is_taken_by_the_first_event_and_given_back_at_the_end() -> None:
    async def story() -> None:
        places = Places(1, "watch")
        places.check()
        async with aclosing(cast(Any, places.hold(_endless()))) as held:
            assert await anext(held) == b"event"
            with pytest.raises(RefusedError) as refused:
                places.check()
            assert refused.value.refusal.status == 503
            assert refused.value.refusal.text == "1 watch already, as many as there may be"
        places.check()

    asyncio.run(story())


def test_one_watcher_too_many_is_told_to_come_again(tmp_path: Path) -> None:
    with running_agent(tmp_path / "data") as agent:
        watches = [Watch(agent.port, "/api/v0/containers") for _ in range(AGENT_MOST_WATCHERS)]
        try:
            wait_until(lambda: all(watch.events for watch in watches), "everybody's first event")
            refused = Watch(agent.port, "/api/v0/containers")
            assert (refused.response.status, refused.response.getheader("retry-after")) == (503, "1")
            assert agent.call("GET", "/containers").status == 200, "whoever only asks is answered"
        finally:
            for watch in watches[1:]:
                watch.close()

        def let_in() -> bool:
            again = Watch(agent.port, "/api/v0/containers")
            again.close()
            return again.response.status == 200

        wait_until(let_in, "a place is free again")
        watches[0].close()
