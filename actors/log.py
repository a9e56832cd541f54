"""Log lines of the actors and the launcher: to stderr, one line each, straight from each process.

Thespian replaces the root logger by one that sends every record as a message; these loggers stand
beside it, so that logging costs no message and works in the last moment of a dying actor.
"""

from __future__ import annotations

import logging
import sys
from typing import TextIO

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class _Stderr(logging.StreamHandler[TextIO]):
    """To what is standard error when a line is written, as `logging.lastResort` does."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter(_FORMAT))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # the base class has an attribute
        return sys.stderr


# One for all loggers, made before actors are forked: what an actor need not make it shares.
_STDERR = _Stderr()


def make_logger(name: str, level: str = "INFO") -> logging.Logger:
    """A logger that writes lines like `2026-11-23 11:12:27,580 WARNING registry the disk is full`."""
    logger = logging.Logger(name, level)
    logger.addHandler(_STDERR)
    return logger
