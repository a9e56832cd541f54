"""What the actors follow of the actual state."""

import pytest

from actors.base import HarpoonActor
from actors.scheduler import Scheduler
from actors.transformer import Transformer
from scheduling.actual import AGENT, CONTAINER, SAMPLES, Actual


@pytest.mark.parametrize("actor", [Scheduler, Transformer])
def test_who_decides_is_not_woken_by_samples(actor: type[HarpoonActor]) -> None:
    kinds = actor.follows["actual"]
    assert kinds is not None
    assert not kinds & SAMPLES
    assert {AGENT, CONTAINER} <= kinds
    assert kinds | SAMPLES == {CONTAINER, *Actual()._tables}, "a new kind is one or the other"
