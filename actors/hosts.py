"""What actors know of hosts: a clock that all processes of one share, who is on another, what a host offers.

Clock and place are for the command lease (`scheduling.lease`). What a host offers travels as Thespian's
capabilities, so an actor is made on a member by requiring that member's address.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import Any

from config.settings import Settings
from config.version import version
from scheduling.members import LEADER, Offer

_HOST = "Harpoon Host"
_OFFER = "Harpoon Offer"
_FIELDS = Offer.__struct_fields__


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


def has_members(settings: Settings) -> bool:
    """Whether actors may be on other hosts: a new shepherd then can't know which flocks are left there.

    Nobody can join without the secret, so not where it is the scheduler's own.
    """
    return settings.secret_file != ""


def own_offer(settings: Settings) -> tuple[str, Offer]:
    """The address of this host's actors, and what it offers."""
    name = settings.name or socket.gethostname()
    offer = Offer(name=name, zone=settings.zone, flocks=settings.flocks, version=version())
    return f"{settings.actor_address}:{settings.actor_port}", offer


def capabilities(settings: Settings) -> dict[str, Any]:
    """What Thespian tells the other hosts of this one: its address, and what it offers."""
    address, offer = own_offer(settings)
    return {_HOST: address} | {f"{_OFFER} {name}": getattr(offer, name) for name in _FIELDS}


def offer_of(told: Mapping[str, Any]) -> tuple[str, Offer] | None:
    """The address of a host and what it offers, from its capabilities; None where they are not ours."""
    try:
        values = {name: told[f"{_OFFER} {name}"] for name in _FIELDS}
        return str(told[_HOST]), Offer(**values)
    except KeyError:
        return None


def requirement(host: str) -> dict[str, str] | None:
    """What to require of the host that an actor is made on; None for the one that makes it."""
    return None if host == LEADER else {_HOST: host}


def meets(told: Mapping[str, Any], required: Mapping[str, Any]) -> bool:
    """Whether a host with these capabilities is the required one; any is, where none is required."""
    host = required.get(_HOST)
    return host is None or told.get(_HOST) == host
