"""A protection of the product that can be switched off for a while: by exchanging a method or a constant.

The switches are here and not in the product. `mutations.py` and `mutations_lost.py` list them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from simulation.scenario import FAULTS, Profile

Patch = tuple[Any, str, Any]


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """A protection switched off: what is exchanged for what, and where trouble is to be expected."""

    name: str
    patches: tuple[Patch, ...]
    profile: Profile = Profile()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """For as long as this lasts, the protection is off."""
        with ExitStack() as stack:
            for owner, name, stand_in in self.patches:
                stack.enter_context(_exchanged(owner, name, stand_in))
            yield


@contextmanager
def _exchanged(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    # A property may stand in for what each instance has.
    if not hasattr(owner, name) and not isinstance(stand_in, property):
        raise AssertionError(f"{owner} has no {name}: the protection is somewhere else now")
    real = vars(owner).get(name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        if real is None:
            delattr(owner, name)
        else:
            setattr(owner, name, real)


def aimed(*names: str, **changes: Any) -> Profile:
    """A profile in which faults whose names contain one of these words are ten times as likely."""
    weights = {
        fault: weight * (10.0 if any(name in fault for name in names) else 1.0)
        for fault, weight in FAULTS.items()
    }
    return Profile(weights=weights, **{"faults": (8, 20), **changes})
