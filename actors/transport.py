"""Thespian's TCP transport, closed to strangers.

As shipped, every actor listens on all addresses and unpickles what arrives. Here messages carry an
HMAC-SHA256 of the cluster secret that is checked before anything is unpickled, sockets are bound to
the configured address only, and the size a peer may announce is bounded. It also ties Thespian's own
processes to the launcher (`actors.lifeline`). Call `secure` before the first ActorSystem of a process;
forked actors inherit it. What a signature does not do (hide, or stop fresh replays) is in docs/security.md.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import pickle
import socket
import struct
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors.lifeline import tie_to_launcher, tie_to_parent
from config.bounds import (
    LARGEST_MESSAGE_BYTES,
    MESSAGE_SECONDS,
    MOST_TRANSMITS,
    MOST_UNREAD_BYTES,
    OLDEST_MESSAGE_SECONDS,
    SILENT_SEND_SECONDS,
)

# How long a peer may take to send one message, from its connection on.
PATIENCE = timedelta(seconds=MESSAGE_SECONDS)
# What is read before the size of a message is known.
READ_AHEAD_BYTES = 64 * 1024
_SIGNATURE_BYTES = hashlib.sha256().digest_size
# When it was signed, in seconds since 1970. A text is an acknowledgement, signed once for a process's life.
_STAMP = struct.Struct(">d")
_TIMELESS = 0.0

# Read when Thespian is imported, so they stand before it. Peers of one actor: facts in docs/architecture.md.
_ENVIRONMENT = {
    "THESPIAN_MAX_PENDING_TRANSMITS": str(MOST_TRANSMITS),
    "THESPLOG_FILE_MAXSIZE": str(256 * 1024),
    "THESPLOG_THRESHOLD": "WARNING",
    # Members say each 2 s that they are there, and are lost after 6 s of silence. Another form is ignored.
    "CONVENTION_REREGISTRATION_PERIOD": "0:02",
    "CONVENTION_RESTART_PERIOD": "0:02",
    "CONVENTION_REGISTRATION_MISS_MAX": "3",
}


class ForgedMessageError(Exception):
    """A message without a right signature: it was not unpickled."""


class StaleMessageError(Exception):
    """A message that was signed long ago: somebody has recorded it, or the clocks of two hosts differ."""


class SignedPickle:
    """A serializer that signs what it writes, and reads only what it has signed, and lately."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def dumps(self, value: object) -> bytes:
        """Signature, time, pickle."""
        stamp = _TIMELESS if isinstance(value, str) else time.time()
        body = _STAMP.pack(stamp) + pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        return self._sign(body) + body

    def loads(self, data: bytes | bytearray) -> Any:
        """The value, if the signature is right. Raises ForgedMessageError otherwise, or StaleMessageError."""
        signature, body = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise ForgedMessageError("a message without a right signature was refused")
        (stamp,) = _STAMP.unpack_from(body)
        if stamp != _TIMELESS and abs(time.time() - stamp) > OLDEST_MESSAGE_SECONDS:
            raise StaleMessageError("a message that was signed long ago was refused")
        return pickle.loads(body[_STAMP.size :])  # noqa: S301 - only after its signature was checked

    def _sign(self, body: bytes | bytearray) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def secure(secret: bytes, address: str, log_file: Path) -> None:
    """Close the transport of this process: sign with the secret, bind to the address only."""
    if "thespian.system.transport.TCPTransport" in sys.modules:
        raise RuntimeError("secure() comes before the first import of Thespian's transport")
    os.environ.update(_ENVIRONMENT)
    os.environ["THESPIAN_BASE_IPADDR"] = address
    os.environ["THESPLOG_FILE"] = str(log_file)

    from thespian.system import multiprocCommon, multiprocTCPBase  # noqa: PLC0415 - the environment comes first
    from thespian.system.transport import IPBase, TCPTransport, streamBuffer  # noqa: PLC0415

    from actors.child_start import start_lean  # noqa: PLC0415
    from actors.quick_transport import QuickTransport  # noqa: PLC0415

    signed = SignedPickle(secret)
    TCPTransport.serializer = signed
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, signed.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(streamBuffer.ackDataErrPacket, signed.dumps)
    TCPTransport.MAX_INCOMING_SOCKET_PERIOD = PATIENCE
    TCPTransport.ReceiveBuffer = _bounded(streamBuffer.ReceiveBuffer)
    multiprocTCPBase.ActorSystemBase.transportType = QuickTransport
    IPBase.IPActorAddress.bindArgs = property(lambda self: ((address, self.sockname[1]),))
    # Thespian takes all addresses of a host, loopback too, for one and the same. Ours is one address, and two
    # hosts of a convention may each have a 127.0.0.1.
    IPBase.thisSystem._myAddresses = {address}
    start_lean(address)
    _tie_thespians_processes(multiprocCommon, TCPTransport.TCPTransport)


def _bounded(receive_buffer: type) -> type:
    """Thespian's receive buffer, with a limit on the size that a header may announce, and on all of them.

    And a message that is not long is read at once, and not its size first.

    Who sends is not known before a message is whole: until then it must not cost memory or time without end.
    """

    class BoundedReceiveBuffer(receive_buffer):  # type: ignore[misc]  # Thespian has no types
        unread_bytes = 0  # of all buffers of this process

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            self._buf: bytes | bytearray = b""
            self._counted = 0

        def remainingAmount(self) -> int:
            left: int = READ_AHEAD_BYTES if self._size is None else super().remainingAmount()
            return left

        def addMore(self, data: bytes) -> None:
            super().addMore(data)
            if self._size is not None and not 0 <= self._size <= LARGEST_MESSAGE_BYTES:
                raise ForgedMessageError(f"a message of {self._size} bytes was announced and refused")
            # Bytes would be copied as a whole for each piece that comes.
            if isinstance(self._buf, bytes) and self._size is not None:
                self._buf = bytearray(self._buf)
            BoundedReceiveBuffer.unread_bytes += len(self._buf) - self._counted
            self._counted = len(self._buf)
            if BoundedReceiveBuffer.unread_bytes > MOST_UNREAD_BYTES:
                raise ForgedMessageError(
                    f"more than {MOST_UNREAD_BYTES} bytes of messages that are not whole"
                )

        def __del__(self) -> None:
            BoundedReceiveBuffer.unread_bytes -= self._counted

    return BoundedReceiveBuffer


def _impatient(new_socket: Any) -> Any:
    """Thespian's maker of sockets, so that a send to a silent host fails, and is tried on a new connection.

    For this process, the admin: what admins say to each other (who is there) is said again all the time.
    Actors leave it to TCP, which delivers in order once the network is whole again.
    """
    milliseconds, admin = int(SILENT_SEND_SECONDS * 1000), os.getpid()

    def new_impatient_socket(*arguments: Any, **options: Any) -> Any:
        made = new_socket(*arguments, **options)
        if os.getpid() != admin:  # an actor, forked from here
            return made
        one = made[0] if isinstance(made, tuple) else made  # accept() returns the peer's address, too
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        return made

    return new_impatient_socket


def _tie_thespians_processes(multiproc_common: Any, transport: Any) -> None:
    """The admin and the logger are Thespian's, but must not outlive their makers either."""
    start_logger = multiproc_common.startupASLogger

    class TiedAdmin(multiproc_common.MultiProcAdmin):  # type: ignore[misc]  # Thespian has no types
        def __init__(self, *arguments: Any) -> None:
            tie_to_launcher()
            _read_nothing()
            transport.new_socket = _impatient(transport.new_socket)
            super().__init__(*arguments)

    def start_tied_logger(*arguments: Any) -> None:
        tie_to_parent()
        start_logger(*arguments)

    def _read_nothing() -> None:
        """Have nothing on standard input, which all actors inherit: it is the user's."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)

    TiedAdmin.__name__ = "MultiProcAdmin"  # what the process list shows
    multiproc_common.MultiProcAdmin = TiedAdmin
    multiproc_common.startupASLogger = start_tied_logger
