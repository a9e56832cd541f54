"""The user that tasks run as, where the agent is root and was told one."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
from pathlib import Path

import msgspec

from agent.task import DEFAULT_PATH


class UserError(Exception):
    """Tasks can't run as this user; the text says why."""


class User(msgspec.Struct, frozen=True):
    """An unprivileged user, by numbers."""

    uid: int
    gid: int

    def above(self) -> list[str]:
        """The words before a program that make it run as this user, with no groups but its own."""
        setpriv = shutil.which("setpriv", path=DEFAULT_PATH) or "setpriv"
        return [setpriv, f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]

    def give(self, root: Path) -> None:
        """Make this user the owner of all files of a task; what links lead to stays. Raises OSError."""
        os.chown(root, self.uid, self.gid, follow_symlinks=False)
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                with contextlib.suppress(FileNotFoundError):
                    os.chown(Path(folder) / name, self.uid, self.gid, follow_symlinks=False)


def find_user(name: str) -> User | None:
    """The user of this name; None for "". Raises UserError."""
    if not name:
        return None
    if os.geteuid() != 0:
        raise UserError(f"tasks can run as {name} only if the agent is root")
    if shutil.which("setpriv", path=DEFAULT_PATH) is None:
        raise UserError(f"tasks can't run as {name}: the program setpriv (util-linux) is not there")
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        raise UserError(f"there is no user {name}") from error
    return User(found.pw_uid, found.pw_gid)
