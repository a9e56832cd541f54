"""Thespian's TCP transport, closed to strangers.

As shipped, every actor listens on all addresses and unpickles what arrives. Here messages carry an
HMAC-SHA256 of the cluster secret that is checked before anything is unpickled, sockets are bound to
the configured address only, and the size a peer may announce is bounded. It also ties Thespian's own
processes to the launcher (`actors.lifeline`). Call `secure` before the first ActorSystem of a process;
forked actors inherit it. What a signature does not do (hide, or stop replays) is in docs/security.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import pickle
import secrets
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from actors import waiting_sockets
from actors.lifeline import tie_to_launcher, tie_to_parent
from config.bounds import LARGEST_MESSAGE_BYTES, MESSAGE_SECONDS, MOST_TRANSMITS

# How long a peer may take to send one message, from its connection on.
PATIENCE = timedelta(seconds=MESSAGE_SECONDS)
SECRET_BYTES = 32
# In the data directory, beside the secret: what agents must know to register.
REGISTER_TOKEN = "register-token"  # noqa: S105 - the name of a file
_SIGNATURE_BYTES = hashlib.sha256().digest_size

# Read when Thespian is imported, so they stand before it. Peers of one actor: facts in docs/architecture.md.
_ENVIRONMENT = {
    "THESPIAN_MAX_PENDING_TRANSMITS": str(MOST_TRANSMITS),
    "THESPLOG_FILE_MAXSIZE": str(256 * 1024),
    "THESPLOG_THRESHOLD": "WARNING",
}


class ForgedMessageError(Exception):
    """A message without a right signature: it was not unpickled."""


class SignedPickle:
    """A serializer that signs what it writes, and reads only what it has signed."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def dumps(self, value: object) -> bytes:
        """Signature, then pickle."""
        body = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
        return self._sign(body) + body

    def loads(self, data: bytes) -> Any:
        """The value, if the signature is right. Raises ForgedMessageError otherwise."""
        signature, body = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise ForgedMessageError("a message without a right signature was refused")
        return pickle.loads(body)  # noqa: S301 - only after its signature was checked

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")


def load_secret(path: Path) -> bytes:
    """The cluster secret, or the token to register with, in this file; made (mode 0600) if there is none.

    Raises OSError, or ValueError when the file is readable by others or too short.
    """
    if not path.exists():
        _make_secret(path)
    if path.stat().st_mode & 0o077:
        raise ValueError(f"the secret {path} is readable by others; chmod 600 it")
    secret = path.read_text().strip()
    if len(secret) < SECRET_BYTES:
        raise ValueError(
            f"the secret {path} has {len(secret)} characters; it must have {SECRET_BYTES} or more"
        )
    return secret.encode()


def _make_secret(path: Path) -> None:
    """Write it beside and link it into place: whole or not at all, and the first of two writers wins."""
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)


def secure(secret: bytes, address: str, log_file: Path) -> None:
    """Close the transport of this process: sign with the secret, bind to the address only."""
    if "thespian.system.transport.TCPTransport" in sys.modules:
        raise RuntimeError("secure() comes before the first import of Thespian's transport")
    os.environ.update(_ENVIRONMENT)
    os.environ["THESPIAN_BASE_IPADDR"] = address
    os.environ["THESPLOG_FILE"] = str(log_file)

    from thespian.system import multiprocCommon  # noqa: PLC0415 - the environment stands before the import
    from thespian.system.transport import IPBase, TCPTransport, streamBuffer  # noqa: PLC0415

    signed = SignedPickle(secret)
    TCPTransport.serializer = signed
    TCPTransport.ackMsg = streamBuffer.toSendBuffer(streamBuffer.ackPacket, signed.dumps)
    TCPTransport.ackDataErrMsg = streamBuffer.toSendBuffer(streamBuffer.ackDataErrPacket, signed.dumps)
    TCPTransport.MAX_INCOMING_SOCKET_PERIOD = PATIENCE
    TCPTransport.ReceiveBuffer = _bounded(streamBuffer.ReceiveBuffer)
    TCPTransport.selectors = waiting_sockets
    IPBase.IPActorAddress.bindArgs = property(lambda self: ((address, self.sockname[1]),))
    _tie_thespians_processes(multiprocCommon)


def _bounded(receive_buffer: type) -> type:
    """Thespian's receive buffer, with a limit on the size that a header may announce."""

    class BoundedReceiveBuffer(receive_buffer):  # type: ignore[misc]  # Thespian has no types
        def addMore(self, data: bytes) -> None:
            super().addMore(data)
            if self._size is not None and not 0 <= self._size <= LARGEST_MESSAGE_BYTES:
                raise ForgedMessageError(f"a message of {self._size} bytes was announced and refused")

    return BoundedReceiveBuffer


def _tie_thespians_processes(multiproc_common: Any) -> None:
    """The admin and the logger are Thespian's, but must not outlive their makers either."""
    start_logger = multiproc_common.startupASLogger

    class TiedAdmin(multiproc_common.MultiProcAdmin):  # type: ignore[misc]  # Thespian has no types
        def __init__(self, *arguments: Any) -> None:
            tie_to_launcher()
            super().__init__(*arguments)

    def start_tied_logger(*arguments: Any) -> None:
        tie_to_parent()
        start_logger(*arguments)

    TiedAdmin.__name__ = "MultiProcAdmin"  # what the process list shows
    multiproc_common.MultiProcAdmin = TiedAdmin
    multiproc_common.startupASLogger = start_tied_logger
