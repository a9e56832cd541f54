"""What /api/v1 answers about migrations, plans and history, as far as harpoonctl looks at it.

As in `ctl.shapes`: unknown fields are ignored and missing ones have defaults.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ctl.waiting_shapes import Waiting

_ENDS = ("done", "reverted", "ended")


class Side(msgspec.Struct, frozen=True):
    """One version in a migration: how many of its tasks are wanted by now, and how many run."""

    hash: str = ""
    prefix: str = ""
    scale: int = 0
    wanted: int = 0
    running: int = 0


class Migration(msgspec.Struct, frozen=True):
    """A job on its way from one version to another. Times are seconds since 1970, by the scheduler's clock.

    `deadline_at`: when it fails unless something goes forward; None while no such time runs.
    """

    id: str
    job: str = ""
    state: str = ""
    paused: bool = False
    awaits_promotion: bool = False
    reason: str = ""
    message: str = ""
    strategy: str = ""
    floor: int = 0
    ceiling: int = 0
    max_parallel: int = 0
    min_healthy_seconds: float = 0.0
    old: Side = Side()
    new: Side = Side()
    begun_at: float = 0.0
    deadline_at: float | None = None

    @property
    def over(self) -> bool:
        """Whether it has come to an end."""
        return self.state in _ENDS

    @property
    def backward(self) -> bool:
        """Whether the old version is what it goes to, or has gone to."""
        return self.state in ("reverting", "reverted")

    @property
    def condition(self) -> str:
        """Its state in a few words: `running, paused`."""
        if self.paused:
            return f"{self.state}, paused"
        return f"{self.state}, awaits promotion" if self.awaits_promotion else self.state


class Migrations(msgspec.Struct, frozen=True):
    """GET /api/v1/migrations."""

    migrations: list[Migration]


class Past(msgspec.Struct, frozen=True):
    """One version that a job has had; `reverted`: why it was given up, if it was."""

    number: int
    hash: str = ""
    current: bool = False
    at: float = 0.0
    reverted: str = ""
    config: dict[str, Any] = {}


class History(msgspec.Struct, frozen=True):
    """GET …/history, the newest first."""

    versions: list[Past]


class FieldChange(msgspec.Struct, frozen=True):
    """One field of a config, dotted, before and after."""

    field: str
    before: Any = None
    after: Any = None


class PlannedTask(msgspec.Struct, frozen=True):
    """What becomes of one task: start, stop, leave or wait; and on which agent."""

    task: str
    action: str = ""
    agent: str | None = None


class Limits(msgspec.Struct, frozen=True):
    """How a migration would go: at least `floor` tasks run, at most `ceiling`."""

    strategy: str = ""
    max_parallel: int = 0
    floor: int = 0
    ceiling: int = 0


class Plan(msgspec.Struct, frozen=True):
    """POST …/plan. `complete`: it looks ahead to the very end."""

    result: str
    token: str = ""
    message: str = ""
    hash: str = ""
    fields: list[FieldChange] = []
    limits: Limits | None = None
    tasks: list[PlannedTask] = []
    waiting: list[Waiting] = []
    left_out: list[Waiting] = []
    complete: bool = True
