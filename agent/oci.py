"""The `oci` driver: a task in a container that `runc` makes of a root file system or an OCI bundle.

runc runs under the task's shim for as long as the task does, so all that is promised of tasks holds for
these, too. It is kept from making cgroups of its own (it sees those of the host read-only, and is told not to
mind), so that the container stays in the task's: limits, kills for want of memory and the end of the tree are
as for every driver. What it takes itself is added to the limits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agent import procfs
from agent.bundle import config_of, mount
from agent.cgroup import Cgroups
from agent.driver import Entry
from agent.files import files_limit
from agent.hierarchies import cgroup_mounts
from agent.process import ProcessDriver
from agent.task import DEFAULT_PATH, StartError, Task
from agent.user import User
from config.bounds import OCI_OVERHEAD_MB, OCI_OVERHEAD_PIDS
from scheduling.job import Limits

_TRIAL_SECONDS = 10.0
_TRIAL_STATUS = 7
_OF_HOST = ("/usr", "/bin", "/lib", "/lib64")
_CONTAINER = "task"
# Before "--": what is made read-only; after it: what then takes this program's place.
_SCRIPT = 'while [ "$1" != -- ]; do "$0" -o remount,bind,ro "$1" || exit 125; shift; done; shift; exec "$@"'


class OciDriver(ProcessDriver):
    """Runs tasks by `runc`; `data` is the agent's directory."""

    name = "oci"

    def __init__(self, data: Path, cgroups: Cgroups | None = None, user: User | None = None) -> None:
        super().__init__(cgroups, user)
        self._data = data
        self._found = {name: shutil.which(name, path=DEFAULT_PATH) for name in ("runc", "unshare", "mount")}
        self.wrapper = os.fsencode(self._found["runc"] or "runc") + b"\0"

    def problem(self) -> str | None:
        """Why it does not work here, found out by trying; empty if it does, None if it is not installed."""
        if not self._found["runc"]:
            return None
        if os.geteuid() != 0:
            return "the agent is not root"
        if self._cgroups is None or "tree" not in self._cgroups.limits:
            return "it needs cgroups, to end its tasks for sure"
        if missing := [name for name, path in self._found.items() if not path]:
            return f"the program {missing[0]} is not installed"
        with tempfile.TemporaryDirectory(dir=self._data) as scratch:
            return self._try(Path(scratch))

    def _try(self, scratch: Path) -> str:
        """Run the host's own shell in a container."""
        (root := scratch / "root").mkdir()
        task = Task(
            directory=scratch,
            root=root,
            working_dir=Path("/"),
            program=Path("/bin/sh"),
            arguments=["-c", f"exit {_TRIAL_STATUS}"],
            env={},
            files=0,
            own_root=True,
        )
        config = config_of(task, task.ids, None)
        for place in map(Path, _OF_HOST):
            if place.is_symlink():
                (root / place.name).symlink_to(place.readlink())
            elif place.is_dir():
                config["mounts"].append(mount(str(place), "bind", ["rbind", "ro"], str(place)))
        try:
            words = self._container(task, config)
            done = subprocess.run(
                words, check=False, capture_output=True, timeout=_TRIAL_SECONDS, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode == _TRIAL_STATUS:
            return ""
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return said[-1] if said else f"it ends with {done.returncode}"

    def is_inside(self, pid: int) -> bool:
        """Whether a process below a shim is in the container, and is not one that makes it."""
        making = procfs.command_line(pid).startswith(b"runc\0init\0")
        return not making and procfs.namespace(pid, "pid") != procfs.namespace(os.getpid(), "pid")

    def enter(self, pid: int, task: Task, words: list[str], *, env: Mapping[str, str], tty: bool) -> Entry:
        """runc itself gets a command into a container; it enters the task's groups with it."""
        del pid
        variables = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        terminal = ["--tty"] if tty else []
        command = [*self._runc(task), "exec", *terminal, *variables, _CONTAINER, *words]
        entry = self._entry(task, words, env={}, tty=tty)
        return replace(
            entry,
            words=command,
            programs=command[:1],
            env={"PATH": DEFAULT_PATH},
            working_dir="/",
            files=None,
            user=None,
        )

    def _limits(self, limits: Limits) -> Limits:
        return replace(
            limits,
            mem=limits.mem + OCI_OVERHEAD_MB if limits.mem else 0,
            pids=limits.pids + OCI_OVERHEAD_PIDS if limits.pids else 0,
        )

    def _above(self, _task: Task) -> list[str]:
        # runc is root, and makes the program somebody else.
        return []

    def _variables(self, _task: Task) -> Mapping[str, str]:
        return {"PATH": DEFAULT_PATH}

    def _files(self, _task: Task) -> str:
        # A limit of the program, not of runc.
        return ""

    def _words(self, task: Task) -> list[str]:
        if not self._found["runc"]:
            raise StartError("runc is not installed on this host")
        ids = (self._user.uid, self._user.gid) if self._user is not None else task.ids
        try:
            return self._container(task, config_of(task, ids, files_limit(task.files)))
        except OSError as error:
            raise StartError(f"cannot write the bundle of {task.program}: {error.strerror}") from error

    def _container(self, task: Task, config: Mapping[str, object]) -> list[str]:
        """Write the bundle; returns what runs it, in the foreground. Raises OSError."""
        bundle = task.directory / "bundle"
        # Of a container whose runc was killed with it.
        shutil.rmtree(task.directory / "oci", ignore_errors=True)
        bundle.mkdir(mode=0o700, exist_ok=True)
        # The variables may be secrets.
        descriptor = os.open(bundle / "config.json", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(config))
        return [
            *(
                str(self._found["unshare"]),
                "--mount",
                "--",
                self._shell,
                "-c",
                _SCRIPT,
                str(self._found["mount"]),
            ),
            *(*map(str, cgroup_mounts()), "--"),
            *(*self._runc(task), "run", "--bundle", str(bundle), _CONTAINER),
        ]

    def _runc(self, task: Task) -> list[str]:
        return [str(self._found["runc"]), "--root", str(task.directory / "oci"), "--rootless=true"]
