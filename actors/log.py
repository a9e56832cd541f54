"""Log lines of the actors and the launcher: to stderr, one line each, straight from each process.

Thespian replaces the root logger by one that sends every record as a message; these loggers stand
beside it, so that logging costs no message and works in the last moment of a dying actor.
"""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def make_logger(name: str, level: str = "INFO") -> logging.Logger:
    """A logger that writes lines like `2026-11-23 11:12:27,580 WARNING registry the disk is full`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    logger = logging.Logger(name, level)
    logger.addHandler(handler)
    return logger
