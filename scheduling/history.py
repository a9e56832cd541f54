"""The versions a job has had: what `history` shows and `revert` goes back to."""

from __future__ import annotations

import msgspec

from config.bounds import VERSIONS_KEPT
from scheduling.job import JobConfig


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """One config that a job has had. `at`: seconds since 1970; `reverted`: why it was given up, if it was."""

    number: int
    hash: str
    config: JobConfig
    at: float = 0.0
    reverted: str = ""


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The last versions of one job, oldest first; `current` is the number of the one in force."""

    current: int
    kept: tuple[Past, ...] = ()

    def version(self, number: int) -> Past | None:
        """The version with this number, if it is kept."""
        return next((past for past in self.kept if past.number == number), None)

    @property
    def next_number(self) -> int:
        """What the next new version is called."""
        return max((past.number for past in self.kept), default=0) + 1

    def before(self) -> Past | None:
        """What `revert` goes back to when no version is named: the newest other one not given up."""
        others = [past for past in self.kept if past.number != self.current and not past.reverted]
        return others[-1] if others else None

    def with_version(self, past: Past) -> History:
        """With one more version, in force from now on; the oldest others than the one before it fall out."""
        older = [each for each in self.kept if each.number != self.current]
        dropped = {each.number for each in older[: max(0, len(self.kept) + 1 - VERSIONS_KEPT)]}
        kept = tuple(each for each in self.kept if each.number not in dropped)
        return History(current=past.number, kept=(*kept, past))

    def again(self, past: Past) -> History:
        """With this config in force: as the version that had it, else as one more."""
        had = [each.number for each in self.kept if each.config == past.config]
        return msgspec.structs.replace(self, current=had[-1]) if had else self.with_version(past)

    def back_to(self, number: int, why: str) -> History:
        """With an earlier version in force again; the one that was given up tells why."""
        kept = tuple(
            msgspec.structs.replace(past, reverted=why) if past.number == self.current else past
            for past in self.kept
        )
        return History(current=number, kept=kept)
