"""The actors' port is held from when it is chosen until the launcher ends: nobody else may be given it.

Chosen and let go of, it was now and then given to another program before the actors could listen there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from actors.launcher import Launcher
from actors.launching import LaunchError
from actors.member import MemberLauncher
from actors.system import hold_port, port_of
from config.settings import Settings, load_settings

HOST = "127.0.0.1"


def settings(**flags: str | int) -> Settings:
    """The defaults, but for these."""
    return load_settings(flags, {}, None)


def assert_only_by_number(port: int) -> None:
    """Who asks for any port is not given this one; the actors, which know its number, can listen there.

    The kernel gives away the ports that a `bind` without SO_REUSEADDR could have.
    """
    with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
        stranger.bind((HOST, port))
    # It says SO_REUSEADDR, as Thespian's admin does.
    with socket.create_server((HOST, port)), socket.create_connection((HOST, port), timeout=5.0):
        pass


def test_a_held_port_is_for_who_knows_its_number() -> None:
    with hold_port(HOST) as held:
        assert_only_by_number(port_of(held))
        assert_only_by_number(port_of(held))  # again, once the first one is gone


@pytest.mark.parametrize(
    "make",
    [
        lambda: Launcher(settings(listen=f"{HOST}:0")),
        lambda: MemberLauncher(settings(leader="127.0.0.9:9", actor_address=HOST)),
    ],
    ids=["leader", "member"],
)
def test_a_launcher_holds_the_port_of_its_actors(make: Callable[[], Launcher | MemberLauncher]) -> None:
    launcher = make()
    launcher.bind()
    assert_only_by_number(launcher.settings.actor_port)


def test_a_port_that_another_program_listens_on_is_refused() -> None:
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(LaunchError, match=f"can't listen on {HOST}:{port}: Address already in use"):
            Launcher(settings(listen=f"{HOST}:0", actor_port=port)).bind()
