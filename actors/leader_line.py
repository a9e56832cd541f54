"""How a host that wants to join talks with the leader's actor system: one signed question, one answer.

Not from an actor, so that it works before there are any here, and tells apart what is wrong: the leader can't
be reached, has another secret, another clock, another version, or has not taken us in yet.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import msgspec

from actors.hosts import offer_of
from actors.transport import ForgedMessageError, SignedPickle, StaleMessageError
from config.bounds import LARGEST_LEADER_ANSWER_BYTES, LEADER_ANSWER_SECONDS, OLDEST_MESSAGE_SECONDS
from scheduling.members import Offer

# Digits of the length that precedes a message.
_LENGTH_DIGITS = 20


class UnreachableError(Exception):
    """The leader does not answer; the text is the reason."""


class RefusedError(Exception):
    """There is a leader, and this host can't join it; the text is the reason."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader says of itself, and whether this host is one of its members."""

    offer: Offer
    taken: bool


class LeaderLine:
    """The way to the leader at `leader`, from this host's `address`; addresses are (IP, port)."""

    def __init__(self, leader: tuple[str, int], address: tuple[str, int], secret: bytes) -> None:
        self._leader = leader
        self._address = address
        self._signed = SignedPickle(secret)

    def ask(self) -> Answer:
        """Ask the leader. Raises UnreachableError or RefusedError."""
        status = self.status()
        told = offer_of(getattr(status, "capabilities", None) or {})
        if told is None:
            raise RefusedError(f"what answers at {self._named} is no leader that can be joined")
        if status.conventionLeader is not None:
            host, port = status.conventionLeader.addressDetails.sockname
            raise RefusedError(
                f"what answers at {self._named} is a member itself; its leader is {host}:{port}"
            )
        members = [address.addressDetails.sockname for address, _ in status.conventionAttendees]
        return Answer(offer=told[1], taken=self._address in members)

    def status(self) -> Any:
        """What Thespian says of the actor at the other end, which need not be a leader's admin: its status
        message. Raises as `ask`."""
        from thespian.system.messages.status import Thespian_StatusReq  # noqa: PLC0415 - after `secure`

        return self._talk(Thespian_StatusReq(), answered=True)

    def leave(self) -> None:
        """Tell the leader that this host is gone, so that it need not find out; it may not hear it."""
        from thespian.system.messages.convention import ConventionDeRegister  # noqa: PLC0415 - as above

        with contextlib.suppress(UnreachableError, RefusedError):
            self._talk(ConventionDeRegister(_actor_address(self._address)), answered=False)

    @property
    def _named(self) -> str:
        return f"{self._leader[0]}:{self._leader[1]}"

    def _talk(self, question: object, *, answered: bool) -> Any:
        """Send a message to the leader's admin; returns its answer, or None where none is to come."""
        give_up_at = time.monotonic() + LEADER_ANSWER_SECONDS
        try:
            with socket.create_connection(
                self._leader, LEADER_ANSWER_SECONDS, source_address=(self._address[0], 0)
            ) as line:
                # The answer comes on the connection of who says that this address is its own.
                own = _actor_address(line.getsockname()[:2])
                line.sendall(self._frame((own, question)))
                rest = self._acknowledged(line, give_up_at)
                if not answered:
                    return None
                (_, answer), _ = self._read(line, give_up_at, rest)
                line.sendall(self._frame("ACK"))
                return answer
        except OSError as error:
            raise UnreachableError(f"{self._named}: {error.strerror or error}") from None
        except ForgedMessageError:
            raise RefusedError(f"the leader at {self._named} has another secret") from None
        except (ValueError, TypeError) as error:
            raise RefusedError(f"what answers at {self._named} is no leader: {error}") from None

    def _acknowledged(self, line: socket.socket, give_up_at: float) -> bytes:
        """What comes behind the acknowledgement of what we sent."""
        try:
            word, rest = self._read(line, give_up_at, b"")
        except StaleMessageError:
            word, rest = "", b""
        if word != "ACK":
            # Who has our secret, and does not take what we sign now, has another time.
            raise RefusedError(
                f"the clock here and that of the leader at {self._named} differ by more than "
                f"{OLDEST_MESSAGE_SECONDS / 60:g} minutes; set them right"
            )
        return rest

    def _frame(self, value: object) -> bytes:
        body = self._signed.dumps(value)
        return b"%d>" % len(body) + body

    def _read(self, line: socket.socket, give_up_at: float, data: bytes) -> tuple[Any, bytes]:
        """The next message, and what came behind it; `data` is what has come of it already."""
        while (head := data.find(b">")) < 0:
            if len(data) > _LENGTH_DIGITS:
                raise ValueError("that is no length of a message")
            data += _receive(line, give_up_at)
        size = int(data[:head])
        if not 0 < size <= LARGEST_LEADER_ANSWER_BYTES:
            raise ValueError(f"a message of {size} bytes")
        data = data[head + 1 :]
        while len(data) < size:
            data += _receive(line, give_up_at)
        return self._signed.loads(data[:size]), data[size:]


def _receive(line: socket.socket, give_up_at: float) -> bytes:
    line.settimeout(max(give_up_at - time.monotonic(), 0.001))
    data = line.recv(65536)
    if not data:
        raise ConnectionError("it closed the connection")
    return data


def _actor_address(address: tuple[str, int]) -> Any:
    from thespian.actors import ActorAddress  # noqa: PLC0415 - after `secure`
    from thespian.system.transport.IPBase import TCPv4ActorAddress  # noqa: PLC0415 - as above

    return ActorAddress(TCPv4ActorAddress(*address))
