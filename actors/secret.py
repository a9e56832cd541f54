"""The cluster secret: a file that its owner alone can read, and what is refused about one.

A scheduler by itself makes its own in the data directory. Hosts of a convention share one, which somebody
makes with `harpoon-scheduler secret` and copies to each of them.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

SECRET_BYTES = 32
# In the data directory, beside the secret: what agents must know to register.
REGISTER_TOKEN = "register-token"  # noqa: S105 - the name of a file


def load_secret(path: Path, *, make: bool = True) -> bytes:
    """The cluster secret in this file; with `make` it is made there (mode 0600) if the file does not exist.

    Raises OSError, or ValueError when it is missing, no file, readable by others or too short.
    """
    if not path.exists():
        if not make:
            raise ValueError(f"there is no secret {path}; make one with: harpoon-scheduler secret {path}")
        with contextlib.suppress(FileExistsError):
            make_secret(path)
    if not path.is_file():
        raise ValueError(f"the secret {path} is no file; make one with: harpoon-scheduler secret FILE")
    if path.stat().st_mode & 0o077:
        raise ValueError(f"the secret {path} is readable by others; chmod 600 it")
    try:
        secret = path.read_text("utf-8").strip()
    except OSError as error:
        raise ValueError(f"the secret {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"the secret {path} is no text; make one with: harpoon-scheduler secret") from None
    if len(secret) < SECRET_BYTES:
        raise ValueError(
            f"the secret {path} has {len(secret)} characters; it must have {SECRET_BYTES} or more"
        )
    return secret.encode()


def make_secret(path: Path) -> None:
    """Write a new one beside and link it into place: whole or not at all, and the first of two writers wins.

    Raises FileExistsError when there is something already, and OSError.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(SECRET_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(beside)
    finally:
        beside.unlink(missing_ok=True)
