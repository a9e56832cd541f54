"""A program of its own: runs one more command where a task runs, and ends all of it when told so.

    python -I -S enter.py CONTROL ENTRY PIDFD

stdin, stdout and stderr are the command's. ENTRY is the descriptor of an `agent.driver.Entry` as JSON: it may
hold secrets, which are on no command line. CONTROL is a socket to the agent: its end means that nobody wants
the command any more, also when that is because the agent was killed; how the command ended is told on it.
PIDFD is a process of the task, whose namespaces are entered; -1 for none.

These processes are made, all outside of the task's cgroup but the last:

    keeper     stays where the agent is; sees to it that all of this ends
    └ porter   enters the namespaces, which for pids counts from its next child on
      └ reaper gets the orphans of the command, so that the keeper finds them below it
        └ the command, in a session of its own

Only the standard library, and nothing imported late: from some point on the files are those of the task.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import sys
import termios
import time
from typing import Any, NoReturn

# How long a command whose client is gone has after its HUP, and how long it may take the kernel to end one.
_HANGUP_SECONDS = 1.0
_KILL_SECONDS = 5.0
_PAUSE_SECONDS = 0.005
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER = 1, 4, 24, 36
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_CAPABILITY_VERSION_3 = 0x20080522
_NAMESPACES = {
    "user": 0x10000000,
    "mnt": 0x00020000,
    "pid": 0x20000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
    "cgroup": 0x02000000,
}
_NOT_THERE, _NOT_POSSIBLE = 127, 126  # as shells count it
# What is told of a word, and of a failure: as JSON, six bytes a character, it fits into a pipe at once.
_LONGEST_WORD, _LONGEST_FAILURE = 200, 300
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def main() -> None:
    """Keep the command until it has ended, or nobody wants it any more."""
    control, entry_descriptor, pidfd = map(int, sys.argv[1:])
    with os.fdopen(entry_descriptor, "rb") as file:
        entry = json.load(file)
    # The task must not look into this process, or into its children before they are the command.
    _prctl(_PR_SET_DUMPABLE, 0)
    told, tell = os.pipe()
    porter = os.fork()
    if porter == 0:
        os.close(told)
        os.close(control)
        _guarded(tell, lambda: _porter(entry, pidfd, tell))
    os.close(tell)
    _let_go()
    select.select([control, told], [], [])
    said = _said(told, 0.0)
    if not said:
        _signal_all(signal.SIGHUP, porter)
        said = _said(told, _HANGUP_SECONDS)
    deadline = time.monotonic() + _KILL_SECONDS
    while _signal_all(signal.SIGKILL, porter) and time.monotonic() < deadline:
        time.sleep(_PAUSE_SECONDS)
    with contextlib.suppress(OSError):
        os.write(control, said or _said(told, 0.0))


def _porter(entry: dict[str, Any], pidfd: int, tell: int) -> None:
    """Enter the task's namespaces, and wait for what is done there."""
    # From here on an import would find the task's files.
    sys.meta_path.clear()
    groups = [os.open(f"{group}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for group in entry["groups"]]
    if pidfd >= 0:
        # First: only who has made a namespace of users, or root, may enter it.
        _become(entry["user"])
        _check(_LIBC.setns(pidfd, _differing(pidfd)))
        os.close(pidfd)
    reaper = os.fork()
    if reaper == 0:
        _guarded(tell, lambda: _reaper(entry, groups, tell))
    _let_go()
    os.waitpid(reaper, 0)


def _reaper(entry: dict[str, Any], groups: list[int], tell: int) -> None:
    """Start the command, tell how it ended, and stay until none of its children is left."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    command = os.fork()
    if command == 0:
        _guarded(tell, lambda: _command(entry, groups, tell))
    _let_go()
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.wait()
            if pid == command:
                ended = os.waitstatus_to_exitcode(status)
                _say(tell, {"exited": ended} if ended >= 0 else {"signaled": -ended})


def _command(entry: dict[str, Any], groups: list[int], tell: int) -> None:
    """Become the command."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # the first Ctrl-C may come before it begins
    os.setsid()
    if entry["tty"]:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for group in groups:
        os.write(group, b"0")
    if files := entry["files"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, tuple(files))
    os.chdir(entry["working_dir"])
    if entry["bare"]:
        _drop_capabilities()
    else:
        _become(entry["user"])
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)  # Python ignores them
    failed: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for program in entry["programs"]:
        try:
            os.execve(program, entry["words"], entry["env"])  # noqa: S606 - a shell is not asked for
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            failed = error
    name = entry["words"][0]
    if len(name) > _LONGEST_WORD:
        name = f"{name[:_LONGEST_WORD]}…"
    if isinstance(failed, FileNotFoundError):
        _fail(tell, _NOT_THERE, f"{name} was not found")
    _fail(tell, _NOT_POSSIBLE, f"{name} can't be run: {failed.strerror}")


def _become(user: list[int] | None) -> None:
    if user is not None:
        os.setgroups([])
        os.setresgid(user[1], user[1], user[1])
        os.setresuid(user[0], user[0], user[0])
        # The kernel takes this for a reason to forget both.
        _prctl(_PR_SET_DUMPABLE, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _drop_capabilities() -> None:
    """Have none, and get none by anything that is started."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    number = 0
    while _LIBC.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0) == 0:
        number += 1
    if ctypes.get_errno() != errno.EINVAL:  # which says that there are no more
        _check(-1)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _check(_LIBC.capset(header, (ctypes.c_uint32 * 6)()))


def _differing(pidfd: int) -> int:
    """The namespaces of a process that are not ours, as setns takes them."""
    with open(f"/proc/self/fdinfo/{pidfd}", "rb") as file:  # noqa: PTH123 - pathlib loads much
        pid = int(next(line.split()[1] for line in file if line.startswith(b"Pid:")))
    flags = 0
    for name, flag in _NAMESPACES.items():
        if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):  # noqa: PTH115
            flags |= flag
    return flags


def _guarded(tell: int, work: Any) -> NoReturn:
    """Do the work of a child, and end. What goes wrong is told in one line."""
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        work()
    except BaseException as error:  # noqa: BLE001 - nothing may get into the code of the parent
        _fail(tell, _NOT_POSSIBLE, f"it can't be run beside the task: {error}")
    os._exit(0)


def _fail(tell: int, exit_status: int, text: str) -> NoReturn:
    _say(tell, {"failed": text[:_LONGEST_FAILURE], "exited": exit_status})
    os._exit(exit_status)


def _say(tell: int, word: dict[str, Any]) -> None:
    os.write(tell, json.dumps(word).encode()[: select.PIPE_BUF - 1] + b"\n")


def _said(told: int, seconds: float) -> bytes:
    """The first line about the end of the command, if it comes within some time."""
    if not select.select([told], [], [], seconds)[0]:
        return b""
    return os.read(told, select.PIPE_BUF).partition(b"\n")[0]


def _signal_all(number: signal.Signals, porter: int) -> bool:
    """Signal everything below the reaper; whether the porter, and so anything, is still there."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if name.isdigit() and (parent := _parent(name)) is not None:
            parents.setdefault(parent, []).append(int(name))
    todo = [child for reaper in parents.get(porter, []) for child in parents.get(reaper, [])]
    while todo:
        pid = todo.pop()
        todo += parents.get(pid, [])
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
    try:
        return os.waitpid(porter, os.WNOHANG)[0] == 0
    except ChildProcessError:
        return False


def _parent(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - as above
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def _let_go() -> None:
    """Leave stdin, stdout and stderr to the command: who reads them must see their end."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os.close(null)


def _prctl(option: int, value: int) -> None:
    _check(_LIBC.prctl(option, value, 0, 0, 0))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main()
