"""harpoon-scheduler: the command line of the scheduler."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec

from actors.importing import ImportFileError, import_jobs, read_old_registry
from actors.launcher import Launcher
from actors.launching import LaunchError
from actors.member import MemberLauncher
from actors.secret import REGISTER_TOKEN, load_secret, make_secret
from actors.store import Store, StoreError
from actors.system import hold_port, port_of
from actors.transport import secure
from config.agents_file import OWN_AGENT, read_agents_file
from config.settings import Settings, SettingsError, load_settings

USER_ERROR = 1
# What all hosts of a convention say of themselves.
_HOST_OPTIONS = (
    click.option("--data", metavar="DIR", help="Where the registry, our own secret and logs are kept."),
    click.option(
        "--config", metavar="FILE.toml", type=click.Path(path_type=Path), help="A file of settings."
    ),
    click.option(
        "--secret-file", metavar="FILE", help="The secret that hosts share; with it others can join."
    ),
    click.option("--actor-address", metavar="ADDR", help="The address of this host that the actors bind to."),
    click.option("--actor-port", type=int, metavar="N", help="The actor system's port; 0: any."),
    click.option("--name", metavar="NAME", help="What this host is called; its host name without."),
    click.option("--zone", metavar="ZONE", help="Agents with this label zone=… are followed from here."),
    click.option("--flocks", type=int, metavar="N", help="How many flocks this host is for."),
)
_OPTIONS = (
    click.option("--listen", metavar="HOST:PORT", help="Where HTTP is served."),
    *_HOST_OPTIONS,
    click.option(
        "--agent", "agents", multiple=True, metavar="[NAME=]HOST:PORT|URL", help="An agent; repeatable."
    ),
    click.option("--agents-file", metavar="FILE", help="A file of agents, one a line, watched for changes."),
    click.option(
        "--import",
        "import_file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="A registry file of the first harpoon-scheduler to take over.",
    ),
)


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="harpoon-scheduler")
def main() -> None:
    """A general-purpose cluster scheduler."""


@main.command()
@_options(*_OPTIONS)
def serve(config: Path | None, import_file: Path | None, **flags: Any) -> None:
    """Run the scheduler for agents that run elsewhere."""
    settings = _settings(config, flags)
    sys.exit(_launch(settings, import_file))


@main.command()
@_options(*_OPTIONS)
@click.option(
    "--schedule",
    "files",
    multiple=True,
    metavar="FILE",
    type=click.Path(exists=True),
    help="A job to begin with.",
)
def dev(config: Path | None, import_file: Path | None, files: tuple[str, ...], **flags: Any) -> None:
    """Run the scheduler and one local agent; both, and the tasks, end with it."""
    settings = _settings(config, flags)
    held = hold_port("127.0.0.1")  # until we end, so that the agent finds it free when it is made anew, too
    port = port_of(held)
    data = settings.data_path / "dev-agent"
    settings = msgspec.structs.replace(settings, agents=(*settings.agents, f"{OWN_AGENT}=127.0.0.1:{port}"))

    def agent_command() -> list[str]:
        command = [sys.executable, "-m", "agent.main", "--listen", f"127.0.0.1:{port}", "--data", str(data)]
        return [*command, "--ephemeral", "--die-with-parent", "--no-announce"]

    def guest_command(url: str) -> list[str]:
        return [sys.executable, "-m", "ctl.welcome", url, *files] if files else []

    sys.exit(_launch(settings, import_file, agent_command, guest_command))


@main.command()
@click.option("--leader", metavar="HOST:PORT", help="Where the leader's actors are.")
@_options(*_HOST_OPTIONS)
def join(config: Path | None, **flags: Any) -> None:
    """Make this host a member of a leader, which has agents followed from here."""
    settings = _settings(config, flags)
    for name in ("leader", "secret_file"):
        if not getattr(settings, name):
            _fail(f"a member needs a {name}; give it with --{name.replace('_', '-')}")
    sys.exit(_run(settings, lambda: _join(settings)))


@main.command()
@click.argument("file", metavar="[FILE]", type=click.Path(path_type=Path), default="harpoon-secret")
def secret(file: Path) -> None:
    """Make a secret for the hosts of a convention, in a new FILE that only its owner can read."""
    try:
        make_secret(file)
    except FileExistsError:
        _fail(f"{file} is there already, and is left alone; choose another name, or remove it first")
    except OSError as error:
        _fail(f"the secret {file} can't be written: {error.strerror}")
    click.echo(f"{file} is a new secret; copy it to each host, and keep it from all others")


@main.command("register-token")
@click.option("--data", metavar="DIR", help="Where the registry and the secret are kept.")
@click.option("--config", metavar="FILE.toml", type=click.Path(path_type=Path), help="A file of settings.")
def register_token(config: Path | None, data: str | None) -> None:
    """Say which file has the token that lets agents register; made if it is not there yet.

    Copy that file to the hosts of the agents, for harpoon-agent --register-token-file. To change the token
    remove the file and ask again; it counts at once.
    """
    settings = _settings(config, {"agents": (), "data": data})
    try:
        path = _prepare_data(settings.data_path) / REGISTER_TOKEN
        load_secret(path)
    except (LaunchError, ValueError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"the data directory {error.filename or settings.data} can't be used: {error.strerror}")
    click.echo(path)


def _settings(config: Path | None, flags: dict[str, Any]) -> Settings:
    if "agents" in flags:
        flags["agents"] = list(flags["agents"]) or None
    try:
        return load_settings(flags, os.environ, config)
    except SettingsError as error:
        _fail(str(error))


def _launch(
    settings: Settings,
    import_file: Path | None,
    agent_command: Callable[[], list[str]] | None = None,
    guest_command: Callable[[str], list[str]] | None = None,
) -> int:
    def run() -> int:
        launcher = Launcher(settings, agent_command, guest_command)
        jobs = read_old_registry(import_file) if import_file is not None else []
        if settings.agents_file:
            read_agents_file(Path(settings.agents_file))
        launcher.bind()
        data = _prepare_data(settings.data_path)
        _secure(settings)
        _check_store(data, jobs)
        return launcher.run()

    return _run(settings, run)


def _join(settings: Settings) -> int:
    launcher = MemberLauncher(settings)
    launcher.bind()
    _prepare_data(settings.data_path)
    return launcher.run(_secure(launcher.settings))


def _run(settings: Settings, run: Callable[[], int]) -> int:
    """Run a launcher; what keeps it from starting is one line for the user."""
    _raise_limits()
    try:
        return run()
    except (LaunchError, StoreError, ImportFileError, ValueError) as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"the data directory {error.filename or settings.data} can't be used: {error.strerror}")


def _secure(settings: Settings) -> bytes:
    """Close the transport to all who do not have the secret, which is returned."""
    known = load_secret(settings.secret_path, make=not settings.secret_file)
    secure(known, settings.actor_address, settings.data_path.resolve() / "thespian.log")
    return known


def _prepare_data(data: Path) -> Path:
    data = data.resolve()
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.access(data, os.W_OK | os.X_OK):
        raise LaunchError(f"the data directory {data} can't be written; choose another --data")
    return data


def _check_store(data: Path, jobs: list[Any]) -> None:
    """Open the registry once before anything is started, so that what is wrong with it is said at once."""
    store = Store(data)
    try:
        store.load()
        if jobs:
            count = import_jobs(store, jobs)
            known = f"; {len(jobs) - count} were there already" if count < len(jobs) else ""
            click.echo(f"imported {count} of {len(jobs)} jobs{known}", err=True)
    finally:
        store.close()


def _raise_limits() -> None:
    """Every actor is a process with sockets to the others: take all the open files the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _fail(message: str) -> NoReturn:
    click.echo(f"harpoon-scheduler: {message}", err=True)
    sys.exit(USER_ERROR)


if __name__ == "__main__":
    main()
