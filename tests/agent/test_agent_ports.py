"""Claims on ports: chosen and asked for, all or none, given back."""

from __future__ import annotations

import socket

import pytest

from agent.ports import FIRST_PORT, LAST_PORT, Ports, PortTakenError, bindable, listened_on


def test_zero_becomes_the_next_free_port() -> None:
    ports = Ports(is_free=lambda port: port != FIRST_PORT + 1)
    assert ports.claim("a", {"HTTP": 0, "DB": 5432, "ADMIN": 0}) == {
        "HTTP": FIRST_PORT,
        "DB": 5432,
        "ADMIN": FIRST_PORT + 2,
    }
    assert ports.claim("b", {"HTTP": 0}) == {"HTTP": FIRST_PORT + 3}


def test_a_port_is_not_given_out_again_at_once() -> None:
    ports = Ports(is_free=lambda port: True)
    ports.claim("a", {"HTTP": 0})
    ports.release("a")
    assert ports.claim("b", {"HTTP": 0}) == {"HTTP": FIRST_PORT + 1}


def test_after_the_last_port_comes_the_first() -> None:
    ports = Ports(is_free=lambda port: port in (FIRST_PORT, LAST_PORT))
    assert ports.claim("a", {"X": 0, "Y": 0}) == {"X": FIRST_PORT, "Y": LAST_PORT}
    ports.release("a")
    assert ports.claim("b", {"X": 0}) == {"X": FIRST_PORT}


def test_a_refused_claim_takes_nothing() -> None:
    ports = Ports(is_free=lambda port: True)
    ports.claim("a", {"DB": 5432})
    with pytest.raises(PortTakenError, match=r"port 5432 \(SQL\) is taken by a"):
        ports.claim("b", {"WEB": 80, "SQL": 5432})
    with pytest.raises(PortTakenError, match=r"port 81 \(Y\) is taken by b"):
        ports.claim("b", {"X": 81, "Y": 81})
    assert ports.claim("c", {"WEB": 80, "X": 81}) == {"WEB": 80, "X": 81}
    ports.release("a")
    assert ports.claim("b", {"SQL": 5432}) == {"SQL": 5432}


def test_a_chosen_port_is_none_that_the_same_container_asks_for() -> None:
    ports = Ports(is_free=lambda port: True)
    assert ports.claim("a", {"X": 0, "Y": FIRST_PORT}) == {"X": FIRST_PORT + 1, "Y": FIRST_PORT}


def test_when_none_is_left() -> None:
    ports = Ports(is_free=lambda port: False)
    with pytest.raises(PortTakenError, match="no port from 30000 to 32767 is free"):
        ports.claim("a", {"X": 0})


def test_adopted_ports_are_taken() -> None:
    ports = Ports(is_free=lambda port: True)
    ports.adopt("a", {"X": FIRST_PORT})
    assert ports.claim("b", {"X": 0}) == {"X": FIRST_PORT + 1}


def test_a_port_somebody_listens_on_is_not_bindable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not bindable(port)
    assert bindable(port)


def test_a_port_of_a_stranger_is_refused_and_what_a_connection_left_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ports = Ports(is_free=lambda port: True, is_used=listened_on)
        with pytest.raises(PortTakenError, match=rf"port {port} \(B\) is taken by a program that is none of"):
            ports.claim("a", {"A": 0, "B": port})
        with socket.create_connection(server.getsockname()) as client:
            accepted, _ = server.accept()
            accepted.close()  # the first to close keeps the port for a minute
            client.recv(1)
    assert not bindable(port)
    assert ports.claim("a", {"A": 0, "B": port}) == {"A": FIRST_PORT, "B": port}
