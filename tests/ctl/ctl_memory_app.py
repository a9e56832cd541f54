"""The scheduler's own web, on a cluster in memory whose agents obey, at twenty times the usual pace.

Started as `gunicorn 'ctl_memory_app:app()'`, so that harpoonctl meets the real HTTP side, and jobs and
migrations go on by the scheduler's own rule. A job with FAIL in its env ends as soon as it is started.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from scheduling.answer import Answer
from scheduling.registry import Mutation
from web.app import create_app
from web.obedient import ObedientCluster

AGENTS = ("n1", "n2")
PACE = 20.0
ROUND_SECONDS = 0.01
_BEGUN = time.time()


class Autopilot(ObedientCluster):
    """Takes a round every few milliseconds, from the first change on."""

    def __init__(self) -> None:
        super().__init__(
            *AGENTS,
            clock=lambda: _BEGUN + (time.time() - _BEGUN) * PACE,
            fails=lambda config: "FAIL" in (config.env or {}),
        )
        self._pilot: asyncio.Task[None] | None = None

    async def submit(self, mutation: Mutation, request_id: str) -> Answer:
        """As `Cluster.submit`."""
        if self._pilot is None:
            self._pilot = asyncio.create_task(self._go_on())
        return await super().submit(mutation, request_id)

    async def _go_on(self) -> None:
        while True:
            self.turn()
            await asyncio.sleep(ROUND_SECONDS)


def app() -> Any:
    """What gunicorn serves."""
    return create_app(Autopilot())
