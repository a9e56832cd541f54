"""Self-registration: the agent announces itself to a scheduler with a token, and renews that.

A thread of its own, so that a scheduler that hangs holds up nobody. What is refused, or can't be reached, is
said once in the log and tried again, with growing pauses.
"""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import random
import socket
import stat
import threading
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from agent.settings import Settings
from config.bounds import (
    DEREGISTRATION_SECONDS,
    LARGEST_REGISTRATION_ANSWER_BYTES,
    LONGEST_REGISTRATION_DETAIL,
    LONGEST_REGISTRATION_PAUSE_SECONDS,
    REGISTRATION_REQUEST_SECONDS,
    RENEWAL_SECONDS,
)

_FIRST_PAUSE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class RegistrationError(Exception):
    """It is not registered; the text says why, in one line."""


class Registrar:
    """Keeps an agent registered, from the start of its server (it is middleware) until it is closed."""

    def __init__(self, settings: Settings, port: int) -> None:
        self._settings = settings
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="registration", daemon=True)

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        """Begin; nobody waits for it."""
        self._thread.start()

    async def close(self) -> None:
        """Say that the agent ends, if the scheduler listens."""
        self._ended.set()
        if self._thread.is_alive():
            # A request under way may take longer; then it ends without a word.
            await asyncio.to_thread(self._thread.join, DEREGISTRATION_SECONDS * 2)

    def _run(self) -> None:
        complaint, pause = "", _FIRST_PAUSE_SECONDS
        registered = False
        while not self._ended.is_set():
            try:
                seconds = self._register()
            except RegistrationError as error:
                if str(error) != complaint:
                    complaint = str(error)
                    _log.warning("not registered at %s: %s; trying again", self._settings.register, complaint)
                seconds = random.uniform(0.5, 1.0) * pause  # noqa: S311 - jitter
                pause = min(pause * 2, LONGEST_REGISTRATION_PAUSE_SECONDS)
            else:
                if complaint:
                    _log.warning("registered at %s as %s", self._settings.register, self._settings.name)
                complaint, pause, registered = "", _FIRST_PAUSE_SECONDS, True
            self._ended.wait(seconds)
        if registered:
            self._deregister()

    def _register(self) -> float:
        """One request; in how many seconds the next is due. Raises RegistrationError."""
        body = {
            "endpoint": self._settings.advertise or f"{self._own_host()}:{self._port}",
            "labels": self._settings.labels,
            "identity": identity(self._settings.data),
        }
        answer = self._ask("PUT", "", msgspec.json.encode(body), REGISTRATION_REQUEST_SECONDS)
        renew = answer.get("renew_seconds")
        seconds = float(renew) if isinstance(renew, int | float) else RENEWAL_SECONDS
        return min(max(seconds, 1.0), LONGEST_REGISTRATION_PAUSE_SECONDS)

    def _deregister(self) -> None:
        query = f"?identity={identity(self._settings.data)}"
        try:
            self._ask("DELETE", query, b"", DEREGISTRATION_SECONDS)
        except RegistrationError as error:
            _log.info("could not say goodbye: %s", error)

    def _ask(self, method: str, query: str, body: bytes, seconds: float) -> dict[str, Any]:
        """The answer to a request about the registration. Raises RegistrationError."""
        url = urlsplit(self._settings.register)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=seconds)
        headers = {
            "Authorization": f"Bearer {read_token(self._settings.register_token_file)}",
            "Content-Type": "application/json",
        }
        path = f"/api/v1/agents/{quote(self._settings.name, safe='')}/registration{query}"
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read(LARGEST_REGISTRATION_ANSWER_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise RegistrationError(f"{getattr(error, 'strerror', None) or error or 'no answer'}") from None
        finally:
            connection.close()
        try:
            found = msgspec.json.decode(content)
        except (msgspec.DecodeError, UnicodeDecodeError):
            found = {}
        told = found if isinstance(found, dict) else {}
        if answer.status not in (200, 201):
            detail = " ".join(str(told.get("detail") or answer.reason).split())[:LONGEST_REGISTRATION_DETAIL]
            raise RegistrationError(f"{answer.status}: {detail}")
        return told

    def _own_host(self) -> str:
        """Where the scheduler reaches this agent: where it listens, or else the address on the way there."""
        host = self._settings.host
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            url = urlsplit(self._settings.register)
            try:
                found = socket.getaddrinfo(url.hostname, url.port, type=socket.SOCK_DGRAM)[0]
                with socket.socket(found[0], socket.SOCK_DGRAM) as way:
                    way.connect(found[4])  # a datagram socket: nothing is sent
                    host = way.getsockname()[0]
            except OSError as error:
                raise RegistrationError(f"{url.hostname} can't be found: {error.strerror}") from None
        return f"[{host}]" if ":" in host else host


def read_token(path: Path | None) -> str:
    """The token in this file. Raises RegistrationError."""
    if path is None:
        raise RegistrationError("there is no --register-token-file")
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise RegistrationError(f"the token {path} is no file")
        if mode & 0o077:
            raise RegistrationError(f"the token {path} is readable by others; chmod 600 it")
        token = path.read_text("ascii").strip()
    except OSError as error:
        raise RegistrationError(f"the token {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise RegistrationError(f"the token {path} is no text in ASCII") from None
    if not token or not token.isprintable() or " " in token:
        raise RegistrationError(f"the token {path} must be one word")
    return token


def identity(data: Path) -> str:
    """What this data directory is called, made once: by this the scheduler knows an agent that has moved."""
    path = data / "identity"
    if not path.exists():
        beside = path.with_name(f"identity.{os.getpid()}")
        beside.write_text(uuid.uuid4().hex)
        beside.replace(path)
    return path.read_text().strip()
