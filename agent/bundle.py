"""What an OCI runtime is told of a task: a config of our own making, whatever that of a bundle says.

No capabilities and no way to any, own pids, IPC, host name, mounts and cgroups; nothing of the host's but its
network and the task's volumes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from typing import Any

from agent.task import Task

_VERSION = "1.0.2"
_PRIVATE = ["nosuid", "noexec", "nodev"]
# What the kernel shows there is of the whole host.
_MASKED = [
    "acpi",
    "asound",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
]
_READ_ONLY = ["bus", "fs", "irq", "sys", "sysrq-trigger"]
# What needs a capability that no task has, and what has let programs out before.
# fmt: off
_FORBIDDEN = [
    "acct", "add_key", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "init_module",
    "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
    "kexec_load", "keyctl", "lookup_dcookie", "mount", "mount_setattr", "move_mount",
    "name_to_handle_at", "open_by_handle_at", "open_tree", "perf_event_open", "pivot_root",
    "process_vm_readv", "process_vm_writev", "quotactl", "reboot", "request_key", "setns",
    "settimeofday", "stime", "swapoff", "swapon", "umount", "umount2", "unshare", "uselib",
    "userfaultfd", "vm86", "vm86old",
]
# fmt: on
_EPERM, _ENOSYS = 1, 38
_NEW_USER_NAMESPACE = 0x10000000
_ARCHITECTURES = {"x86_64": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]}


def config_of(task: Task, ids: tuple[int, int], files: tuple[int, int] | None) -> dict[str, Any]:
    """The config.json for a task, whose program is `ids` (uid, gid), with limits of open files."""
    none: list[str] = []
    return {
        "ociVersion": _VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": ids[0], "gid": ids[1]},
            "args": [str(task.program), *task.arguments],
            "env": [f"{name}={value}" for name, value in task.env.items()],
            "cwd": str(task.working_dir),
            "capabilities": dict.fromkeys(
                ("bounding", "effective", "inheritable", "permitted", "ambient"), none
            ),
            "noNewPrivileges": True,
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": files[0], "hard": files[1]}] if files else none,
        },
        "root": {"path": str(task.root), "readonly": False},
        "hostname": task.directory.name[:64],
        "mounts": list(_mounts(task)),
        "linux": {
            "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount", "cgroup")],
            "maskedPaths": [f"/proc/{name}" for name in _MASKED],
            "readonlyPaths": [f"/proc/{name}" for name in _READ_ONLY],
            "seccomp": _seccomp(),
        },
    }


def _mounts(task: Task) -> Iterator[dict[str, Any]]:
    yield mount("/proc", "proc", _PRIVATE)
    yield mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=64k"])
    yield mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"])
    yield mount("/dev/shm", "tmpfs", [*_PRIVATE, "mode=1777", "size=64m"])  # noqa: S108 - its own
    yield mount("/dev/mqueue", "mqueue", _PRIVATE)
    for path, size in (task.storage.tmp or {}).items():
        # Those without a size are in the root, which is the task's own.
        if size > 0:
            options = ["nosuid", "nodev", "mode=1777", f"size={size}"]
            yield mount(os.path.normpath(path), "tmpfs", options)
    for path, host_path in (task.storage.volumes or {}).items():
        yield mount(os.path.normpath(path), "bind", ["rbind", "nosuid", "nodev", "rw"], host_path)


def mount(place: str, kind: str, options: list[str], source: str = "") -> dict[str, Any]:
    """One mount, as the config says it."""
    return {"destination": place, "type": kind, "source": source or kind, "options": options}


def _seccomp() -> dict[str, Any]:
    """Any call is possible but those that are not: programs are not known here, what harms is."""
    forbidden: dict[str, Any] = {"names": _FORBIDDEN, "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM}
    flag = {
        "index": 0,
        "value": _NEW_USER_NAMESPACE,
        "valueTwo": _NEW_USER_NAMESPACE,
        "op": "SCMP_CMP_MASKED_EQ",
    }
    clone = {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM, "args": [flag]}
    # Its flags can't be looked at; programs then take clone.
    clone3 = {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        **({"architectures": found} if (found := _ARCHITECTURES.get(platform.machine())) else {}),
        "syscalls": [forbidden, clone, clone3],
    }
