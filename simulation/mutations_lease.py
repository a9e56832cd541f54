"""The two halves of the command lease, to switch off: the holder's and the successor's."""

from __future__ import annotations

from scheduling import lease
from scheduling.lease import Lease
from simulation.switches import Mutation, aimed

# Cut off while there is much to command, and what fails is tried again.
_CUT_OFF = aimed("flock is cut off", "agent answers 500", "starts fail", "task exits", requests=(15, 30))

LEASE_MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        name="a state machine commands only while its lease is renewed",
        patches=((Lease, "valid", lambda *_: True),),
        profile=_CUT_OFF,
    ),
    Mutation(
        name="a successor waits until its predecessor's lease is over",
        patches=((lease, "SUCCESSION_SECONDS", 0.0),),
        profile=_CUT_OFF,
    ),
)
