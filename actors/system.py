"""Starting the actor system, and joining one that runs."""

from __future__ import annotations

import socket
from datetime import timedelta
from typing import Any

from actors.sharing import forget_lookups

ADMIN_START_SECONDS = 30.0


class NoActorSystemError(Exception):
    """There is no actor system to join; joining never starts one."""


def start_system(admin_port: int, capabilities: dict[str, Any], leader: str = "") -> Any:
    """Start the actor system of this host; returns Thespian's ActorSystem. `secure` comes first.

    `capabilities`: what other hosts are told of this one. `leader`: HOST:PORT of the system to join.
    """
    from thespian.actors import ActorSystem  # noqa: PLC0415 - `secure` stands before the import
    from thespian.system import multiprocCommon  # noqa: PLC0415 - as above
    from thespian.system.messages.convention import CONV_ADDR_IPV4_CAPABILITY  # noqa: PLC0415 - as above

    # Thespian's 5 s are not enough for a fork and two messages on a host that has far too much to do.
    multiprocCommon.MAX_ADMIN_STARTUP_DELAY = timedelta(seconds=ADMIN_START_SECONDS)
    told = {"Admin Port": admin_port, **capabilities}
    if leader:
        told[CONV_ADDR_IPV4_CAPABILITY] = leader
    forget_lookups()
    return ActorSystem("multiprocTCPBase", told, logDefs=QUIET, transientUnique=True)


def join_system(admin_port: int) -> Any:
    """Join the running actor system. Raises NoActorSystemError when there is none."""
    from thespian.actors import ActorSystem, InvalidActorAddress  # noqa: PLC0415 - as above
    from thespian.system import multiprocTCPBase  # noqa: PLC0415

    class JoiningBase(multiprocTCPBase.ActorSystemBase):  # type: ignore[misc]  # Thespian has no types
        def _startAdmin(self, *_: Any) -> None:
            raise NoActorSystemError(f"no actor system on port {admin_port}")

    class Capable:
        capabilities = {"Admin Port": admin_port}  # noqa: RUF012 - Thespian writes into it

    try:
        return ActorSystem(JoiningBase(Capable()), Capable.capabilities, transientUnique=True)
    except InvalidActorAddress as error:
        raise NoActorSystemError(f"the actor system on port {admin_port} does not answer") from error


def hold_port(address: str, wanted: int = 0) -> socket.socket:
    """A socket on this TCP port, or on any for 0, if it is free on this address. Raises OSError.

    It does not listen: a program that is told the port, and says SO_REUSEADDR, can listen there. While the
    socket is open the kernel gives the port to nobody who asks for any, so that the program finds it free.
    """
    held = socket.socket()
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((address, wanted))
    except OSError:
        held.close()
        raise
    return held


def port_of(held: socket.socket) -> int:
    """Its port."""
    port: int = held.getsockname()[1]
    return port


# Actors write their own log lines (actors.log); Thespian's logger only gets what Thespian says.
QUIET = {
    "version": 1,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s thespian %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "level": "WARNING"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
