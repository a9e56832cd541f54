"""Who has the log of a task that is gone: connected agents are asked, so many, and a few at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from web import limits
from web.agent_logs import AgentLogs, LogAddress
from web.problems import HttpProblem, unavailable

_LINES = msgspec.json.Decoder(list[str])


class LogSearch:
    """Searches of one worker; one more than there may be is refused with 503."""

    def __init__(self, logs: AgentLogs) -> None:
        self._logs = logs
        self._searches = 0

    async def latest(self, task: str, endpoints: Sequence[str]) -> str | None:
        """The endpoint of the agent whose log of a task goes on the longest; None if none has one.

        Who does not answer in time has none. Raises HttpProblem when there are more agents than are asked.
        """
        if self._searches >= limits.MOST_LOG_SEARCHES:
            raise unavailable(
                "logs are being searched for already; name the agent with ?agent=, or try again"
            )
        self._searches += 1
        found: list[tuple[str, str]] = []
        try:
            asked = endpoints[: limits.MOST_AGENTS_ASKED]
            queue = list(reversed(asked))
            async with asyncio.timeout(limits.LOG_SEARCH_SECONDS):
                await asyncio.gather(*(self._ask(task, queue, found) for _ in range(limits.LOG_SEARCHERS)))
        except TimeoutError:
            pass  # what was found until then
        finally:
            self._searches -= 1
        if not found and len(asked) < len(endpoints):
            text = (
                f"none of {len(asked)} agents has a log of {task}, of {len(endpoints)}; name one with ?agent="
            )
            raise HttpProblem(404, text)
        return max(found)[1] if found else None

    async def _ask(self, task: str, queue: list[str], found: list[tuple[str, str]]) -> None:
        while queue:
            endpoint = queue.pop()
            try:
                lines = _LINES.decode(
                    await self._logs.read(LogAddress(endpoint=endpoint, task=task, history=1))
                )
            except HttpProblem as problem:
                if problem.status == 503:
                    raise
                continue
            # A line begins with its time, and these sort as the times do.
            found.append((lines[-1] if lines else "", endpoint))
