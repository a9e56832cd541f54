"""Waiting for a goal: take in the news, show how far it is, watch the clock."""

from __future__ import annotations

import time
from typing import Protocol

from ctl.errors import NotInTimeError, UnreachableError
from ctl.feed import News, Trouble
from ctl.goals import Goal, Progress, open_ends
from ctl.world import World
from scheduling.durations import Duration

TICK_SECONDS = 0.25


class Tracker:
    """What is known about a goal, from the news so far."""

    def __init__(self, goal: Goal) -> None:
        self._goal = goal
        self._world = World(goal.key, goal.prefixes)
        self._seen = False
        self._heard = False
        self.trouble = ""

    def take(self, news: News) -> None:
        """Take in one piece of news."""
        if isinstance(news, Trouble):
            self.trouble = news.why
            return
        self._world.apply(news)
        self._heard, self.trouble = True, ""
        self._seen = self._seen or self._goal.is_there(self._world)

    def progress(self) -> Progress:
        """How far the goal is; before anything was heard, an empty world proves nothing."""
        if not self._heard:
            return Progress(summary="waiting for news from the scheduler")
        return self._goal.progress(self._world, self._seen)


class Source(Protocol):
    """Where news come from."""

    def take(self, timeout_seconds: float) -> list[News]:
        """All there is, at least one thing unless the time is over."""
        ...


class Display(Protocol):
    """Where progress is shown."""

    def show(self, progress: Progress, trouble: str) -> None:
        """Show the present state, however often."""
        ...


def wait_for(goal: Goal, source: Source, display: Display, timeout: Duration) -> Progress:
    """Wait until the goal is reached.

    Raises NotInTimeError when it is not, or can't be any more, and UnreachableError when the time
    ended without the scheduler in sight, so that nobody knows.
    """
    tracker = Tracker(goal)
    deadline = time.monotonic() + timeout.seconds
    while True:
        rest = deadline - time.monotonic()
        for news in source.take(min(rest, TICK_SECONDS)):
            tracker.take(news)
        progress = tracker.progress()
        display.show(progress, tracker.trouble)
        if progress.reached:
            return progress
        if progress.impossible:
            raise NotInTimeError(*progress.impossible)
        if rest <= 0:
            if tracker.trouble:
                raise UnreachableError(f"after {timeout} the outcome is unknown: {tracker.trouble}")
            raise NotInTimeError(f"not so after {timeout}: {progress.summary}", *open_ends(progress))
