"""What differs between two configs of a job, field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from scheduling.job import JobConfig, encode_hook


class FieldChange(msgspec.Struct, frozen=True, kw_only=True):
    """One field, dotted, with its JSON values before and after; None where there was or will be none."""

    field: str
    before: Any
    after: Any


def differences(before: JobConfig | None, after: JobConfig) -> Iterator[FieldChange]:
    """The fields that differ, in the order of the config. Lists are compared as a whole."""
    old = _plain(before) if before is not None else {}
    yield from _compared("", old, _plain(after))


def _plain(config: JobConfig) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(config, enc_hook=encode_hook)
    return plain


def _compared(path: str, before: Any, after: Any) -> Iterator[FieldChange]:
    if before == after:
        return
    if not (isinstance(before, dict) and isinstance(after, dict)):
        yield FieldChange(field=path, before=before, after=after)
        return
    for name in [*after, *(name for name in before if name not in after)]:
        yield from _compared(f"{path}.{name}" if path else name, before.get(name), after.get(name))
