"""The `bubblewrap` driver: a task that sees itself, its files, and of the host only what it needs to run.

It has pids, IPC and a host name of its own, no capabilities, a private /tmp, and as its root either its
artifact, if that is a root file system, or the host's programs, read-only, with the artifact where it is for
the `process` driver, too. The network is the host's, so that ports are what they are called.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from agent import procfs
from agent.cgroup import Cgroups
from agent.driver import Entry
from agent.process import ProcessDriver
from agent.task import DEFAULT_PATH, StartError, Task, place_of
from agent.user import User

# Of the host's root. Not there: /home, /root, /var, /run and what else may hold what is nobody's business.
_OF_HOST = ("bin", "sbin", "lib", "lib32", "lib64", "libx32", "usr", "etc", "opt", "nix")
# What /etc/resolv.conf is a link into, on some hosts.
_RESOLVER = "/run/systemd/resolve"
_OWN = (
    *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--cap-drop", "ALL", "--clearenv"),
)
_ARGUMENTS_DESCRIPTOR = 9  # as the shim opens it
_TRIAL_SECONDS = 10.0
_TRIAL_STATUS = 7


class BubblewrapDriver(ProcessDriver):
    """Runs tasks by `bwrap`; `data` is the agent's directory, which they do not see."""

    name = "bubblewrap"

    def __init__(self, data: Path, cgroups: Cgroups | None = None, user: User | None = None) -> None:
        super().__init__(cgroups, user)
        self._data = data
        self._program = shutil.which("bwrap", path=DEFAULT_PATH) or ""
        self.wrapper = os.fsencode(self._program or "bwrap") + b"\0"

    def problem(self) -> str | None:
        """Why it does not work here, found out by trying; empty if it does, None if it is not installed."""
        if not self._program:
            return None
        with tempfile.TemporaryDirectory(dir=self._data) as scratch:
            Path(scratch).chmod(0o755)
            (root := Path(scratch) / "root").mkdir()
            task = Task(
                directory=Path(scratch),
                root=root,
                working_dir=root,
                program=Path("/bin/sh"),
                arguments=["-c", f"exit {_TRIAL_STATUS}"],
                env={},
                files=0,
            )
            words = [*self._above(task), self._program, *self._surroundings(task), *self._command(task)]
            try:
                done = subprocess.run(
                    words, check=False, capture_output=True, timeout=_TRIAL_SECONDS, stdin=subprocess.DEVNULL
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                return str(error)
        if done.returncode == _TRIAL_STATUS:
            return ""
        return done.stderr.decode("utf-8", "replace").strip() or f"it ends with {done.returncode}"

    def is_inside(self, pid: int) -> bool:
        """Whether a process below a shim is in a task's namespaces, and not one of those that make them."""
        return procfs.namespace(pid, "pid") != procfs.namespace(os.getpid(), "pid")

    def enter(self, pid: int, task: Task, words: list[str], *, env: Mapping[str, str], tty: bool) -> Entry:
        """How a command gets into the task's namespaces, with as few rights as it has."""
        return self._entry(task, words, env=env, tty=tty, beside=pid, bare=True)

    def _words(self, task: Task) -> list[str]:
        if not self._program:
            raise StartError("bwrap is not installed on this host")
        if not task.own_root and not self._sees(task):
            raise StartError(f"{task.program} is not in what {self.name} shows of the host")
        # The variables are the task's, not of bwrap, which they could lead astray; and on no command line.
        words = list(self._surroundings(task))
        words += [word for name, value in task.env.items() for word in ("--setenv", name, value)]
        path = task.directory / "args"
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(b"".join(os.fsencode(word) + b"\0" for word in words))
        except OSError as error:
            raise StartError(f"cannot write {path}: {error.strerror}") from error
        return [self._program, "--args", str(_ARGUMENTS_DESCRIPTOR), *self._command(task)]

    def _variables(self, _task: Task) -> Mapping[str, str]:
        return {}

    def _sees(self, task: Task) -> bool:
        tops = [Path("/") / name for name in _OF_HOST]
        return any(task.program.is_relative_to(top) for top in (*tops, (task.directory / "root").resolve()))

    def _command(self, task: Task) -> list[str]:
        return ["--", str(task.program), *task.arguments]

    def _surroundings(self, task: Task) -> Iterator[str]:
        """The arguments that make what a task sees."""
        root = str(task.directory / "root")
        yield from _OWN
        yield from ("--hostname", task.directory.name[:64])
        if task.own_root:
            yield from ("--bind", root, "/")
        else:
            yield from _host()
        yield from ("--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp")  # noqa: S108 - its own
        if not task.own_root:
            yield from ("--tmpfs", str(self._data), "--bind", root, root)
        top = "" if task.own_root else root
        for path, size in (task.storage.tmp or {}).items():
            if size > 0:
                yield from ("--size", str(size), "--tmpfs", top + os.path.normpath(path))
            elif task.own_root:
                # The private /tmp covers what the artifact has there.
                yield from ("--bind", str(place_of(task.root, path)), os.path.normpath(path))
        for path, host_path in (task.storage.volumes or {}).items():
            # Where the host is the root, the path in the artifact is a link to it.
            yield from ("--bind", host_path, os.path.normpath(path) if task.own_root else host_path)
        yield from ("--chdir", str(task.working_dir))


def _host() -> Iterator[str]:
    for name in _OF_HOST:
        path = Path("/") / name
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    yield from ("--ro-bind-try", _RESOLVER, _RESOLVER)
