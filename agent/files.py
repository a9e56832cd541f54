"""How many files the agent and its tasks may have open.

Each task that runs takes one of the agent's, so the agent lets itself have as many as it may. Its tasks get
what it was started with: a program that goes through all that there could be, or uses select(), can't do with
many.
"""

from __future__ import annotations

import resource

from config.bounds import AGENT_OWN_FILES

# Soft and hard, of all that is started from here.
_STARTED_WITH = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_limit() -> None:
    """Let this process open as many files as it may."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (_STARTED_WITH[1], _STARTED_WITH[1]))


def files_limit(wanted: int) -> tuple[int, int]:
    """The limits of open files, soft and hard, to set for a task: it may not have more than the agent may."""
    hard = _STARTED_WITH[1]
    return (min(wanted, hard), min(wanted, hard)) if wanted else _STARTED_WITH


def most_containers() -> int:
    """How many containers there may be, so that the agent can open what else it needs."""
    return max(1, _STARTED_WITH[1] - AGENT_OWN_FILES)
