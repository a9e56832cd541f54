"""Where the actors touch the world outside: clock, chance, process, log, disk and network, all exchanged.

The modules of `actors/` are used as they are; for the time of a run these names in them stand for
something simulated. A name that an actor module imports anew and that reaches outside belongs here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType, SimpleNamespace
from typing import Any

import actors.supervisor
from config.version import version
from scheduling.members import Offer
from simulation.clock import Clock
from simulation.stage import ActorEndedError, Stage

# What the leader's host says of itself; all flocks are made there.
LEADERS_OFFER = Offer(name="leader", zone="", flocks=20, version=version())
_BUG_EXIT = actors.base._BUG_EXIT


class QuietLog:
    """An actor's log: warnings and worse become lines of the trace."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name
        self.last_exception = ""

    def debug(self, text: str, *values: Any, **_: Any) -> None:
        """Nobody reads it."""

    info = debug

    def warning(self, text: str, *values: Any, exc_info: bool = False) -> None:
        """A line of the trace, with the exception if there is one."""
        said = text % values if values else text
        if exc_info:
            error = sys.exc_info()[1]
            self.last_exception = _where(error) if error is not None else ""
            said = f"{said}: {self.last_exception}"
        self._stage.trace.note(self._stage.clock.now, self._name, f"logs: {said}")

    error = critical = warning


class Outside:
    """The simulated world outside, as the actors' modules see it."""

    def __init__(self, clock: Clock, rng: Random, stage: Stage) -> None:
        self.clock = clock
        self.rng = rng
        self.stage = stage
        # Set by the world: what stands for the registry's store and the state machines' links.
        self.make_store: Callable[..., Any] | None = None
        self.make_mailbox: Callable[..., Any] | None = None
        self.make_stream: Callable[..., Any] | None = None
        self.make_senders: Callable[..., Any] | None = None
        # Whether flocks are on hosts of their own.
        self.remote = False

    def names(self) -> dict[str, Any]:
        """What each name stands for."""
        return {
            "time": self.clock,
            "uuid4": lambda: SimpleNamespace(hex=f"{self.rng.getrandbits(64):016x}"),
            "random": SimpleNamespace(Random=lambda: Random(self.rng.random())),
            "os": SimpleNamespace(getpid=lambda: 1, _exit=self._exit, urandom=self._urandom),
            "tie_to_parent": lambda *_: None,
            "make_logger": lambda name, *_: QuietLog(self.stage, name),
            "Store": self.make_store,
            "Mailbox": self.make_mailbox,
            "EventStream": self.make_stream,
            "RequestSenders": self.make_senders,
            "boot_seconds": self.clock.monotonic,
            "is_remote": lambda _address: self.remote,
            "has_members": lambda _settings: self.remote,
            "own_offer": lambda _settings: ("simulated:0", LEADERS_OFFER),
        }

    def _urandom(self, size: int) -> bytes:
        return self.rng.getrandbits(64).to_bytes(size, "big")

    def _exit(self, code: int) -> None:
        error = sys.exc_info()[1]
        reason = f"a bug: {_where(error)}" if error is not None else f"exit {code}"
        raise ActorEndedError(reason, bug=code == _BUG_EXIT)


def _where(error: BaseException) -> str:
    at = error.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    place = f" ({at.tb_frame.f_code.co_filename.rpartition('/')[2]}:{at.tb_lineno})" if at else ""
    return f"{type(error).__name__}: {error}{place}"


# The modules whose classes act on the stage; those that only define the world outside stay as they are.
ACTING = ("base", "supervisor", "registry", "scheduler", "transformer", "shepherd", "flock",
          "state_machine", "discovery", "nursery")  # fmt: skip


def acting_modules() -> list[ModuleType]:
    """The modules of the actors."""
    return [sys.modules[f"actors.{name}"] for name in ACTING]


@contextmanager
def exchanged(outside: Outside) -> Iterator[None]:
    """For as long as this lasts, the actors see this world."""
    kept: list[tuple[ModuleType, str, Any]] = []
    try:
        for module in acting_modules():
            for name, stand_in in outside.names().items():
                if hasattr(module, name):
                    kept.append((module, name, getattr(module, name)))
                    setattr(module, name, stand_in)
        yield
    finally:
        for module, name, real in reversed(kept):
            setattr(module, name, real)
