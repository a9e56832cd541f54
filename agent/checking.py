"""Carries out the health checks of running tasks: a coroutine for each, a bounded number at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from agent.container import Container
from agent.health import Checks
from agent.probe import probe
from agent.task import environment
from config.bounds import HEALTH_CHECKS_AT_ONCE as _MOST_AT_ONCE
from config.bounds import SHORTEST_HEALTH_INTERVAL_SECONDS as _SHORTEST_INTERVAL_SECONDS
from scheduling.job import HealthCheck

DEFAULT_INTERVAL_SECONDS = 5.0


class Checking:
    """Watches running containers; `on_change` hears of another health, `on_fatal` of one to be restarted."""

    def __init__(
        self, on_change: Callable[[Container], None], on_fatal: Callable[[Container, str], None]
    ) -> None:
        self._on_change = on_change
        self._on_fatal = on_fatal
        self._turns = asyncio.Semaphore(_MOST_AT_ONCE)
        self._running: dict[Container, list[asyncio.Task[None]]] = {}

    def watch(self, container: Container) -> None:
        """Begin the checks of a container that runs; initial delays count from the start of its process."""
        self.forget(container)
        configured = container.config.health_checks or []
        if not configured:
            return
        checks = Checks(configured, container.config.unhealthy_after, time.time())
        container.health = checks.health
        self._running[container] = [
            asyncio.create_task(self._repeat(container, checks, position, check))
            for position, check in enumerate(configured)
        ]

    def forget(self, container: Container) -> None:
        """Check a container no more."""
        container.health = None
        for task in self._running.pop(container, ()):
            task.cancel()

    def close(self) -> None:
        """End all checks; what was found stays."""
        for tasks in self._running.values():
            for task in tasks:
                task.cancel()
        self._running = {}

    async def _repeat(self, container: Container, checks: Checks, position: int, check: HealthCheck) -> None:
        delay_seconds = check.initial_delay.seconds
        waited_seconds = time.time() - container.record.started_at
        # A clock that was set back must not put the first check off for longer than was asked.
        await asyncio.sleep(min(delay_seconds, max(0.0, delay_seconds - waited_seconds)))
        interval_seconds = check.interval.seconds or DEFAULT_INTERVAL_SECONDS
        env = environment(container.config)
        while True:
            async with self._turns:
                problem = await probe(check, env)
            if checks.note(position, problem, time.time()):
                container.health = checks.health
                self._on_change(container)
            if checks.fatal(position):
                self._on_fatal(container, problem)
                return
            await asyncio.sleep(max(interval_seconds, _SHORTEST_INTERVAL_SECONDS))
