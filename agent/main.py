"""`harpoon-agent`: its flags, and what must be right before anything is started."""

from __future__ import annotations

import logging
import platform
import socket
import sys
import tomllib
from pathlib import Path
from typing import Any, NoReturn

import click
import psutil

from agent import STARTED_BY
from agent.drivers import drivers_here
from agent.files import raise_limit
from agent.prctl import signal_on_parent_death
from agent.registration import RegistrationError, read_token
from agent.runtime import end_leftovers
from agent.server import serve
from agent.settings import Settings
from agent.store import DataDirError, Store, lock_data_dir
from agent.user import UserError, find_user
from config.bounds import AGENT_CONNECTIONS_WAITING as _BACKLOG
from config.version import version
from scheduling.desired import parse_endpoint

_BYTES_PER_MB = 1024 * 1024


class _AddressType(click.ParamType[tuple[str, int]]):
    """HOST:PORT; port 0 is one that the kernel chooses."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f'{value!r} is not an address like "127.0.0.1:3333"', param, ctx)
        return host.removeprefix("[").removesuffix("]"), int(port)


class _LabelType(click.ParamType[tuple[str, str]]):
    """KEY=VALUE."""

    name = "key=value"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not key or not equals:
            self.fail(f'{value!r} is not a label like "zone=a"', param, ctx)
        return key, text


class _SchedulerType(click.ParamType[str]):
    """http://HOST:PORT."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return parse_endpoint(str(value))
        except ValueError:
            self.fail(f'{value!r} is no scheduler; it must be like "http://10.0.0.1:4444"', param, ctx)


def _read_toml(ctx: click.Context, _param: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        _fail(f"cannot read {path}: {error}")
    known = {param.name for param in ctx.command.params}
    for name in values:
        if name not in known:
            _fail(f"{path}: {name!r} is not a setting of harpoon-agent")
    if isinstance(values.get("label"), dict):
        values["label"] = [f"{key}={value}" for key, value in values["label"].items()]
    ctx.default_map = values


@click.command(context_settings={"auto_envvar_prefix": "HARPOON_AGENT"})
@click.option("--listen", type=_AddressType(), default="127.0.0.1:3333", help="Where; port 0: any free one.")
@click.option(
    "--data", type=click.Path(path_type=Path), default="./harpoon-agent-data", help="For all it keeps."
)
@click.option("--name", default=platform.node(), help="What to be called; the host name by default.")
@click.option("--cpu", type=click.FloatRange(min=0, min_open=True), help="Cores to offer; all by default.")
@click.option("--mem", type=click.IntRange(min=1), help="Memory to offer in MB; all by default.")
@click.option("--volume", multiple=True, metavar="HOST_PATH", help="A path for tasks; repeatable.")
@click.option("--label", multiple=True, type=_LabelType(), help="A property to place jobs by; repeatable.")
@click.option("--limits/--no-limits", default=True, help="Enforce what tasks are limited to, where possible.")
@click.option("--cgroup", default="", metavar="PATH", help="The cgroup for tasks; the agent's by default.")
@click.option("--task-user", default="", metavar="NAME", help="Who tasks run as; only if the agent is root.")
@click.option("--exec/--no-exec", default=True, help="Let commands be run beside tasks (harpoonctl exec).")
@click.option(
    "--artifact-cache-mb",
    type=click.IntRange(min=0),
    default=10_240,
    show_default=True,
    help="Disk space for downloaded artifacts, kept for the next task; 0 keeps none.",
)
@click.option(
    "--artifact-cache-hours",
    type=click.FloatRange(min=0),
    default=168.0,
    show_default=True,
    help="How long an artifact that nobody asks for is kept.",
)
@click.option(
    "--log-rotate-hours",
    type=click.FloatRange(min=0, min_open=True),
    default=168.0,
    show_default=True,
    help="The age at which a task's log is rotated; what was rotated before goes.",
)
@click.option(
    "--log-keep-hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="How long the log of a task that is gone is kept.",
)
@click.option(
    "--log-keep-mb",
    type=click.IntRange(min=0),
    default=1024,
    show_default=True,
    help="Disk space for all of these; the oldest go.",
)
@click.option(
    "--disk-reserve-mb",
    type=click.IntRange(min=0),
    default=64,
    show_default=True,
    help="With less than this free on its disk, it takes no more tasks.",
)
@click.option("--ephemeral", is_flag=True, help="Begin with no containers, and end all tasks at the end.")
@click.option("--die-with-parent", is_flag=True, help="End when the process that started this one ends.")
@click.option("--register", type=_SchedulerType(), metavar="URL", help="A scheduler to announce itself to.")
@click.option(
    "--register-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The token for that: what `harpoon-scheduler register-token` names.",
)
@click.option("--advertise", metavar="HOST:PORT", help="Where the scheduler reaches it, if not by --listen.")
@click.option("--no-announce", is_flag=True, hidden=True)
@click.option("--metrics-seconds", type=click.FloatRange(min=0.05), default=3.0, hidden=True)
@click.option("--keep-alive-seconds", type=click.FloatRange(min=0.05), default=10.0, hidden=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_read_toml,
    metavar="FILE.toml",
    help="Any of these settings, by their names.",
)
@click.version_option(version(), prog_name="harpoon-agent")
def main(**flags: Any) -> None:
    """Run tasks on this host, as a scheduler tells it over HTTP.

    Every setting may also come from the environment (HARPOON_AGENT_LISTEN, …) or a TOML file; a flag
    counts more than the environment, and that more than the file. Tasks live on when the agent ends,
    and the next agent on the same data directory finds them again.
    """
    settings = _settings(flags)
    if settings.die_with_parent:
        signal_on_parent_death(STARTED_BY)
    logging.basicConfig(format="harpoon-agent: %(levelname)s: %(message)s", level=logging.WARNING)
    try:
        # Held until the last process of this agent is gone; tasks do not inherit it.
        lock_data_dir(settings.data)
    except DataDirError as error:
        _fail(str(error))
    try:
        find_user(settings.task_user)
    except UserError as error:
        _fail(str(error))
    _check_registration(settings)
    raise_limit()
    listener = _listen(settings.host, settings.port)
    if settings.ephemeral:
        end_leftovers(Store(settings.data), drivers_here(settings))
    serve(settings, listener)


def _settings(flags: dict[str, Any]) -> Settings:
    host, port = flags["listen"]
    return Settings(
        host=host,
        port=port,
        data=flags["data"].absolute(),
        name=flags["name"],
        cpu_cores=flags["cpu"] or float(psutil.cpu_count() or 1),
        memory_mb=flags["mem"] or psutil.virtual_memory().total // _BYTES_PER_MB,
        volumes=flags["volume"],
        labels=dict(flags["label"]),
        limits=flags["limits"],
        cgroup=flags["cgroup"],
        exec=flags["exec"],
        task_user=flags["task_user"],
        artifact_cache_bytes=flags["artifact_cache_mb"] * _BYTES_PER_MB,
        artifact_cache_seconds=flags["artifact_cache_hours"] * 3600.0,
        log_rotate_seconds=flags["log_rotate_hours"] * 3600.0,
        log_keep_seconds=flags["log_keep_hours"] * 3600.0,
        log_keep_bytes=flags["log_keep_mb"] * _BYTES_PER_MB,
        disk_reserve_bytes=flags["disk_reserve_mb"] * _BYTES_PER_MB,
        ephemeral=flags["ephemeral"],
        die_with_parent=flags["die_with_parent"],
        register=flags["register"] or "",
        register_token_file=flags["register_token_file"],
        advertise=_advertised(flags["advertise"]),
        announce=not flags["no_announce"],
        metrics_seconds=flags["metrics_seconds"],
        keep_alive_seconds=flags["keep_alive_seconds"],
    )


def _advertised(address: str | None) -> str:
    if not address:
        return ""
    try:
        return parse_endpoint(address).removeprefix("http://")
    except ValueError as error:
        _fail(f"--advertise: {error}")


def _check_registration(settings: Settings) -> None:
    if settings.register:
        try:
            read_token(settings.register_token_file)
        except RegistrationError as error:
            _fail(str(error))
    elif settings.register_token_file is not None or settings.advertise:
        _fail("--register-token-file and --advertise say nothing without --register URL")


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these: a watcher whose host is gone is noticed within a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        _fail(f"cannot listen on {host}:{port}: {error.strerror or error}")
    return listener


def _fail(text: str) -> NoReturn:
    click.echo(f"harpoon-agent: {text}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
