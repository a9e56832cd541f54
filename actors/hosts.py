"""What actors know of hosts: a clock that all processes of one share, and who is on another.

Both are for the command lease (`scheduling.lease`).
"""

from __future__ import annotations

import time
from typing import Any


def boot_seconds() -> float:
    """Seconds since this host booted: the same for all of its processes.

    Unlike `time.monotonic` it goes on while the host sleeps: a lease must not outlive a night in a bag.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def is_remote(address: Any) -> bool:
    """Whether the actor at this address, as it stands on a message from it, is on another host.

    An address without a host in it is that of a child which has just been made here.
    """
    is_local = getattr(address.addressDetails, "isLocalAddr", None)
    return is_local is not None and not is_local()


def has_members() -> bool:
    """Whether actors may be on other hosts: a new shepherd then can't know which flocks are left there.

    Not yet: all actors are made on this host, and die with those that made them.
    """
    return False
