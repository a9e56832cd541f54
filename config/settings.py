"""The settings of the scheduler: defaults, then the TOML file, the environment, and the flags."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from config.agents_file import Names, spec
from config.bounds import LARGEST_FLOCK, LONGEST_LABEL, MOST_FLOCKS
from scheduling.placement import algorithm

ENVIRONMENT_PREFIX = "HARPOON_"
# What belongs to harpoon-agent, to harpoonctl, and to the launcher itself.
_AGENTS_PREFIX = "HARPOON_AGENT_"
_ALL_ADDRESSES = ipaddress.IPv4Address("0.0.0.0")  # noqa: S104 - to refuse it
_OTHERS = {"HARPOON_ENDPOINT", "HARPOON_OUTPUT", "HARPOON_REQUEST_TIMEOUT", "HARPOON_LAUNCHER_PID"}


class SettingsError(ValueError):
    """A setting is wrong; the text says which, its value, where it came from, and what would be right."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings; their meaning is written in config/defaults.toml."""

    listen: str
    data: str
    agents: tuple[str, ...]
    agents_file: str
    placement: str
    actor_port: int
    actor_address: str
    secret_file: str
    leader: str
    name: str
    zone: str
    flocks: int
    flock_size: int
    metrics_seconds: float
    lost_after_seconds: float
    silence_seconds: float
    web_workers: int
    exec: bool
    host_names: tuple[str, ...]
    log_level: Literal["debug", "info", "warning", "error"]

    @property
    def listen_address(self) -> tuple[str, int]:
        """The host and port of `listen`."""
        return split_listen(self.listen)

    @property
    def data_path(self) -> Path:
        """The data directory."""
        return Path(self.data)

    @property
    def secret_path(self) -> Path:
        """The file of the secret: one that hosts share, or our own in the data directory."""
        return Path(self.secret_file) if self.secret_file else self.data_path / "secret"


def load_settings(flags: Mapping[str, Any], environment: Mapping[str, str], file: Path | None) -> Settings:
    """The settings in force. Flags that are None were not given. Raises SettingsError."""
    values: dict[str, Any] = tomllib.loads(Path(__file__).with_name("defaults.toml").read_text("utf-8"))
    known = set(values)
    origin = {}
    for source, given in (
        (str(file), _from_file(file)),
        ("the environment", _from_environment(environment, known)),
        ("the flags", {name: value for name, value in flags.items() if value is not None}),
    ):
        unknown = sorted(set(given) - known)
        if unknown:
            raise SettingsError(
                f'{source}: there is no setting "{unknown[0]}"; there are {", ".join(sorted(known))}'
            )
        values.update(given)
        origin.update(dict.fromkeys(given, source))
    try:
        settings = msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        name = str(error).rpartition("`$.")[2].rstrip("`").split("[")[0]
        raise SettingsError(
            f"{name} = {values.get(name)!r} ({origin.get(name, 'defaults')}): {error}"
        ) from None
    for name, problem in _problems(settings):
        raise SettingsError(f"{name} = {values[name]!r} ({origin.get(name, 'defaults')}): {problem}")
    return settings


def _from_file(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"{file} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from None


def _from_environment(environment: Mapping[str, str], known: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in known:
        text = environment.get(ENVIRONMENT_PREFIX + name.upper())
        if text is not None:
            words = [word.strip() for word in text.split(",") if word.strip()]
            found[name] = words if name in ("agents", "host_names") else text
    ours = {ENVIRONMENT_PREFIX + name.upper() for name in known} | _OTHERS
    for name in sorted(environment):
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(_AGENTS_PREFIX) and name not in ours:
            raise SettingsError(
                f"the environment: there is no setting {name}; there are {', '.join(sorted(ours))}"
            )
    return found


def _problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """What a type can't say: the setting, and what would be right."""
    for name, check in (("listen", split_listen), ("placement", algorithm)):
        try:
            check(getattr(settings, name))
        except ValueError as error:
            yield name, str(error)
    try:
        Names().add_all(spec(agent) for agent in settings.agents)
    except ValueError as error:
        yield "agents", str(error)
    if not settings.data:
        yield "data", "it must be a directory, like ./harpoon-data"
    try:
        address = ipaddress.IPv4Address(settings.actor_address)
    except ValueError:
        address = _ALL_ADDRESSES
    # The others are told it: it must be one, and not all.
    if address == _ALL_ADDRESSES:
        yield "actor_address", "it must be an IPv4 address of this host, like 127.0.0.1"
    if settings.leader:
        try:
            split_listen(settings.leader)
        except ValueError:
            yield "leader", "it must be the HOST:PORT of its actors, like 10.0.0.1:4445"
    for name in ("name", "zone"):
        text = getattr(settings, name)
        if len(text) > LONGEST_LABEL or not text.isprintable():
            yield name, f"it must have at most {LONGEST_LABEL} characters, all printable"
    for name, low, high in (
        ("actor_port", 0, 65535),
        ("flock_size", 1, LARGEST_FLOCK),
        ("flocks", 1, MOST_FLOCKS),
        ("web_workers", 1, 64),
        ("metrics_seconds", 1, 3600),
        ("lost_after_seconds", 1, 86400),
        ("silence_seconds", 0.1, 3600),
    ):
        if not low <= getattr(settings, name) <= high:
            yield name, f"it must be from {low} to {high}"


def split_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair. Raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("it must be HOST:PORT, like 127.0.0.1:4444")
    return host.strip("[]"), int(port)
