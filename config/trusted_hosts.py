"""By which names a server of ours may be called from a browser: the rule against DNS rebinding.

A web page that a visitor opens can make the browser send requests here, under a name of its own that it
lets resolve to our address. Browsers name the page in `Origin` with every change; programs do not. An
address is no name that somebody else controls, so addresses are always fine.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

ALWAYS = frozenset({"localhost"})


def host_name(host: str | None) -> str:
    """The name in a Host header, in lower case, without the port and the brackets of an IPv6 address."""
    text = (host or "").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0]


def is_address(name: str) -> bool:
    """Whether it is an IP address."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(name: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def is_trusted(host: str | None, names: frozenset[str]) -> bool:
    """Whether a Host header is one of ours: an address, localhost, or one of these names."""
    name = host_name(host)
    return is_address(name) or name in ALWAYS or name in names


def is_own_page(origin: str, host: str | None) -> bool:
    """Whether a change comes from a page that this very server has sent."""
    return bool(host) and urlsplit(origin).netloc.lower() == (host or "").lower()
