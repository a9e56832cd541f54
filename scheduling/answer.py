"""What the registry answers to a mutation: the same few results, whoever asked."""

from __future__ import annotations

from typing import Literal

import msgspec

Result = Literal["created", "changed", "unchanged", "invalid", "conflict", "not found", "precondition failed"]
# As an expected version: whichever it is, there must be one.
ANY = -1
ACCEPTED: frozenset[Result] = frozenset({"created", "changed", "unchanged"})


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a mutation; `version` is the registry's at which it holds, `hash` the job's.

    `migration`: the id of the migration that it began, or that is in its way.
    `kept`: agents that keep their addresses for now, because they have tasks.
    """

    result: Result
    message: str
    version: int = 0
    hash: str = ""
    migration: str = ""
    kept: tuple[str, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether what was asked for is so now."""
        return self.result in ACCEPTED
