"""What users ask for: a job config, its canonical bytes and its hash.

Shapes, units and order come from the wire format of 2014 (v0), which existing clients, agents and
registry files speak; `scheduling.validation` says which values are right.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, get_args

import msgspec

from scheduling.canonical import GoStruct, go_json, job_hash
from scheduling.durations import Duration
from scheduling.update import Update

RestartPolicy = Literal["no", "on-failure", "always"]
# What may run a task; the first runs one that names none, and is all that an agent of 2014 has.
DRIVERS = ("process", "bubblewrap", "oci")
READINESS, LIVENESS = "readiness", "liveness"
# As a scale: one task on each agent that fits.
ALL: Final = "all"


class HealthCheck(GoStruct, frozen=True, kw_only=True):
    """One check of a task: `protocol` HTTP or TCP against the port that the variable `port` names.

    `kind`: "readiness" (or "", as in job files of 2014) says only whether the task is of use yet; a
    "liveness" check that fails `unhealthy_after` times in a row has the task restarted, too.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"http_path", "http_acceptable_responses", "kind"})

    protocol: str = ""
    port: str = ""
    initial_delay: Duration = Duration(0)
    timeout: Duration = Duration(0)
    interval: Duration = Duration(0)
    http_path: str = ""
    http_acceptable_responses: list[int] | None = None
    kind: str = ""


class Command(GoStruct, frozen=True, kw_only=True):
    """What a task runs: `exec[0]` with its arguments, in `working_dir` below the unpacked artifact."""

    working_dir: str = ""
    exec: list[str] | None = None


class Resources(GoStruct, frozen=True, kw_only=True):
    """What one task needs: `mem` in MB, `cpu` in cores, `fd` open files."""

    mem: int = 0
    cpu: float = 0.0
    fd: int = 0


class Storage(GoStruct, frozen=True, kw_only=True):
    """`tmp`: path → bytes (-1 for no limit); `volumes`: path in the task → path on the host."""

    tmp: dict[str, int] | None = None
    volumes: dict[str, str] | None = None


class Limits(GoStruct, frozen=True, kw_only=True):
    """What one task can't get beyond: `mem` in MB, `cpu` in cores, `pids` processes and threads; 0: as usual.

    Without them memory ends at `resources.mem`, and `resources.cpu` is a share, not an end. What is asked
    for here is placed only where it is enforced.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset({"mem", "cpu", "pids"})

    mem: int = 0
    cpu: float = 0.0
    pids: int = 0


class Grace(GoStruct, frozen=True, kw_only=True):
    """How long a task may take to start, and to end between TERM and KILL."""

    startup: Duration = Duration(0)
    shutdown: Duration = Duration(0)


class ContainerConfig(GoStruct, frozen=True, kw_only=True):
    """One task's config, as an agent gets it; a port 0 means one the agent chooses.

    What follows `restart` is ours, and is part of the canonical JSON only where it is set. `unhealthy_after`:
    so many failures in a row of one check make a task unhealthy; 0 is the default.
    `artifact_sha256`: what the archive must be, in hexadecimal. After `restart_limit` restarts in a row its
    agent gives a task up; 0: never.
    """

    omit_empty: ClassVar[frozenset[str]] = frozenset(
        {"unhealthy_after", "artifact_sha256", "driver", "limits", "restart_limit"}
    )

    product: str = ""
    environment: str = ""
    job: str = ""
    health_checks: list[HealthCheck] | None = None
    artifact_url: str = ""
    ports: dict[str, int] | None = None
    env: dict[str, str] | None = None
    command: Command = Command()
    resources: Resources = Resources()
    storage: Storage = Storage()
    grace: Grace = Grace()
    restart: str = ""
    unhealthy_after: int = 0
    artifact_sha256: str = ""
    driver: str = ""
    limits: Limits | None = None
    restart_limit: int = 0


class OnLost(GoStruct, frozen=True, kw_only=True):
    """What to do when an agent is lost: replace its tasks, but only after this time."""

    after: Duration = Duration(60_000_000_000)


# What of a job config says where its tasks may run; of our own, and left out of the JSON when it is not set.
PLACING = ("constraints", "spread", "distinct_hosts")
# What of a job config says how it is dealt with, not what runs.
POLICY = ("on_lost", "update", "depends_on")


class JobConfig(ContainerConfig, frozen=True, kw_only=True):
    """`scale` identical tasks of one container config; "all": one on each agent that fits.

    `constraints` say on which agents its tasks may run (`scheduling.constraints`), `spread` over the values
    of which label they are spread, `distinct_hosts` that no two run on one agent: part of the canonical JSON
    only where they are set. Policy (`POLICY`) is never part of it: changing it restarts nothing. `depends_on`
    names jobs that must run before this one starts: by job where product and environment are the same, else
    in full.
    """

    go_order: ClassVar[tuple[str, ...]] = ("scale", *ContainerConfig.__struct_fields__, *PLACING)
    omit_empty: ClassVar[frozenset[str]] = ContainerConfig.omit_empty | frozenset(PLACING)

    scale: int | Literal["all"] = 0
    constraints: list[str] | None = None
    spread: str = ""
    distinct_hosts: bool = False
    on_lost: OnLost | None = None
    update: Update | None = None
    depends_on: list[str] | None = None

    @property
    def key(self) -> JobKey:
        """(product, environment, job)."""
        return JobKey(self.product, self.environment, self.job)

    @property
    def everywhere(self) -> bool:
        """Whether it has one task on each agent that fits."""
        return self.scale == ALL

    def canonical(self) -> bytes:
        """Canonical JSON, without the newline that ends it in a file."""
        return go_json(self)

    def described(self) -> bytes:
        """The canonical JSON with the policy behind it, where there is one: what v1 shows."""
        policies = [(name, value) for name in POLICY if (value := getattr(self, name)) is not None]
        shown = b"".join(b',"%s":%s' % (name.encode(), go_json(value)) for name, value in policies)
        return self.canonical()[:-1] + shown + b"}"

    def hash(self) -> str:
        """The name of this version: `job-xxxxxxx`."""
        return job_hash(self.job, self.canonical())

    def runs_as(self, other: JobConfig) -> bool:
        """Whether another config runs the same in the same places: scale and policy may differ.

        With scale `all` each task belongs to one agent, so from that to a number leads a migration.
        """
        return (
            self.container() == other.container()
            and self.everywhere == other.everywhere
            and all((getattr(self, name) or None) == (getattr(other, name) or None) for name in PLACING)
        )

    def container(self) -> ContainerConfig:
        """The config of each of its tasks."""
        return ContainerConfig(**{name: getattr(self, name) for name in ContainerConfig.__struct_fields__})


class JobKey(msgspec.Struct, frozen=True, array_like=True, order=True):
    """What makes a job the same job in another version."""

    product: str
    environment: str
    job: str

    def __str__(self) -> str:
        return f"{self.product}/{self.environment}/{self.job}"


def task_id(prefix: str, index: int) -> str:
    """The id of one task, which is its container id at the agent."""
    return f"{prefix}-{index}"


def task_prefix(task: str) -> str:
    """The version a task belongs to: its id without the index."""
    return task.rpartition("-")[0]


def task_index(task: str) -> int:
    """The index of a task in its job; -1 for an id that is not of our making."""
    digits = task.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else -1


def decode_hook(kind: type, value: Any) -> Any:
    """Read our own value types from JSON (for msgspec's decoders)."""
    if kind is Duration and isinstance(value, str):
        return Duration.parse(value)
    expected = 'a duration like "1.5s"' if kind is Duration else kind.__name__
    raise ValueError(f"expected {expected}, got {value!r}")


def encode_hook(value: Any) -> Any:
    """Write our own value types to JSON (for msgspec's encoders)."""
    if isinstance(value, Duration):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


JOB_CONFIG_DECODER = msgspec.json.Decoder(JobConfig, dec_hook=decode_hook)
CONTAINER_CONFIG_DECODER = msgspec.json.Decoder(ContainerConfig, dec_hook=decode_hook)


def unknown_fields(
    raw: Mapping[str, Any], kind: type[msgspec.Struct] = JobConfig, path: str = ""
) -> list[str]:
    """Dotted names of fields in `raw` that `kind` does not have; v1 refuses them, v0 ignores them."""
    known = _fields_of(kind)
    found = []
    for name, value in raw.items():
        if name not in known:
            found.append(path + name)
            continue
        inner = known[name]
        if name == "health_checks" and isinstance(value, list):
            for position, item in enumerate(value):
                if isinstance(item, Mapping):
                    found += unknown_fields(item, HealthCheck, f"{path}{name}[{position}].")
        elif isinstance(value, Mapping) and (struct := _struct_in(inner)) is not None:
            found += unknown_fields(value, struct, f"{path}{name}.")
    return found


@functools.cache
def _fields_of(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The fields of a struct with their types, which take long to find out."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(kind)}


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a field holds, also an optional one."""
    choices = get_args(kind) or (kind,)
    return next(
        (each for each in choices if isinstance(each, type) and issubclass(each, msgspec.Struct)), None
    )
