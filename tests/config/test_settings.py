"""Settings: which source wins; every complaint names the setting, its value and where it came from."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from config import settings as settings_module
from config.settings import ENVIRONMENT_PREFIX, Settings, SettingsError, load_settings, split_listen

DEFAULTS = tomllib.loads(Path(str(settings_module.__file__)).with_name("defaults.toml").read_text("utf-8"))


def load(
    flags: dict[str, Any] | None = None, environment: dict[str, str] | None = None, file: Path | None = None
) -> Settings:
    return load_settings(flags or {}, environment or {}, file)


def wrong(**sources: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load(**sources)
    text = str(caught.value)
    assert "\n" not in text, "one line"
    return text


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.toml"


def test_without_anything_the_defaults_hold() -> None:
    settings = load()
    assert settings.listen_address == ("127.0.0.1", 4444)
    assert settings.actor_address == "127.0.0.1", "loopback unless somebody says otherwise"
    assert settings.data_path == Path("harpoon-data")
    assert settings.agents == ()
    assert set(DEFAULTS) == set(Settings.__struct_fields__), "every setting has its line in defaults.toml"


def test_flags_win_over_the_environment_over_the_file_over_the_defaults(file: Path) -> None:
    file.write_text('flock_size = 7\nweb_workers = 7\nplacement = "random_fit"\nlisten = "h:7"')
    environment = {"HARPOON_WEB_WORKERS": "8", "HARPOON_LISTEN": "h:8"}
    settings = load({"listen": "h:9", "data": None}, environment, file)
    assert settings.listen == "h:9"
    assert settings.web_workers == 8
    assert settings.flock_size == 7
    assert settings.placement == "random_fit"
    assert settings.data == DEFAULTS["data"], "a flag that is None was not given"
    assert settings.metrics_seconds == DEFAULTS["metrics_seconds"]


def test_every_setting_can_come_from_the_environment() -> None:
    for name, value in DEFAULTS.items():
        many = isinstance(value, list)
        settings = load(environment={ENVIRONMENT_PREFIX + name.upper(): "h:1, b=h:2" if many else str(value)})
        assert getattr(settings, name) == (("h:1", "b=h:2") if many else value)


def test_other_variables_of_the_environment_do_not_matter() -> None:
    assert load(environment={"LISTEN": "y", "HARPOON_AGENT_LISTEN": "z", "HARPOON_ENDPOINT": "u"}) == load()


def test_a_variable_of_ours_that_is_no_setting_is_refused() -> None:
    text = wrong(environment={"HARPOON_LISTN": "h:1"})
    assert text.startswith("the environment: there is no setting HARPOON_LISTN; there are HARPOON_")


def test_an_empty_list_of_agents_is_none() -> None:
    assert load(environment={"HARPOON_AGENTS": ""}).agents == ()


# The setting, its value as given, as it is shown, and the words that say what would be right.
WRONG: list[tuple[str, Any, str, str]] = [
    ("actor_address", "0.0.0.0", "'0.0.0.0'", "it must be an IPv4 address of this host"),
    ("listen", "4444", "'4444'", "it must be HOST:PORT, like 127.0.0.1:4444"),
    ("listen", ":4444", "':4444'", "it must be HOST:PORT"),
    ("listen", "host:x", "'host:x'", "it must be HOST:PORT"),
    ("listen", "host:65536", "'host:65536'", "it must be HOST:PORT"),
    ("listen", "host:" + "1" * 5000, "'host:1111", "it must be HOST:PORT"),
    ("agents", ["nonsense"], "['nonsense']", '"nonsense" is no agent address; write HOST:PORT'),
    ("agents", ["a/b=h:1"], "['a/b=h:1']", "'a/b' is no agent name"),
    ("placement", "best", "'best'", "it must be one of random_fit, least_used or module:function"),
    ("actor_port", 65536, "65536", "it must be from 0 to 65535"),
    ("actor_port", -1, "-1", "it must be from 0 to 65535"),
    ("flock_size", 0, "0", "it must be from 1 to 200"),
    ("flock_size", 201, "201", "it must be from 1 to 200"),
    ("web_workers", 0, "0", "it must be from 1 to 64"),
    ("metrics_seconds", 0.5, "0.5", "it must be from 1 to 3600"),
    ("metrics_seconds", float("nan"), "nan", "it must be from 1 to 3600"),
    ("actor_port", "http", "'http'", "Expected `int`"),
    ("web_workers", 1.5, "1.5", "Expected `int`"),
    ("listen", 4444, "4444", "Expected `str`"),
    ("agents", "h:1", "'h:1'", "Expected `array`"),
    ("agents", [1], "[1]", "Expected `str`"),
    ("log_level", "loud", "'loud'", "Invalid enum value 'loud'"),
]


@pytest.mark.parametrize(("name", "value", "shown", "right"), WRONG)
def test_a_wrong_setting_is_named_with_value_origin_and_what_would_be_right(
    name: str, value: Any, shown: str, right: str
) -> None:
    text = wrong(flags={name: value})
    assert text.startswith(f"{name} = {shown}")
    assert " (the flags): " in text
    assert right in text


def test_the_origin_is_where_the_value_in_force_came_from(file: Path) -> None:
    file.write_text("flock_size = 0\nweb_workers = 0")
    assert wrong(file=file) == f"flock_size = 0 ({file}): it must be from 1 to 200"
    text = wrong(environment={"HARPOON_FLOCK_SIZE": "0"}, file=file)
    assert text == "flock_size = '0' (the environment): it must be from 1 to 200"
    text = wrong(flags={"flock_size": 5}, environment={"HARPOON_FLOCK_SIZE": "0"}, file=file)
    assert text.startswith(f"web_workers = 0 ({file})")


def test_a_setting_that_is_not_there_is_refused_with_those_that_are(file: Path) -> None:
    file.write_text("flocksize = 5")
    text = wrong(file=file)
    assert text.startswith(f'{file}: there is no setting "flocksize"; there are actor_address, ')
    assert "flock_size" in text
    assert wrong(flags={"colour": "red"}).startswith('the flags: there is no setting "colour"')


def test_a_file_that_cannot_be_used_is_named(file: Path, tmp_path: Path) -> None:
    assert wrong(file=file) == f"{file} can't be read: No such file or directory"
    assert wrong(file=tmp_path) == f"{tmp_path} can't be read: Is a directory"
    file.write_text("flock_size = ")
    assert wrong(file=file).startswith(f"{file} is not TOML: ")
    file.write_bytes(b'data = "\xff"')
    assert wrong(file=file).startswith(f"{file} is not TOML: ")


def test_a_file_is_read_as_utf_8_whatever_the_locale(file: Path) -> None:
    file.write_bytes('data = "/dåta"'.encode())
    assert load(file=file).data == "/dåta"


@pytest.mark.parametrize(
    ("text", "pair"),
    [("host:1", ("host", 1)), ("[::1]:80", ("::1", 80)), ("0.0.0.0:0", ("0.0.0.0", 0))],
)
def test_an_address_to_listen_on_is_split(text: str, pair: tuple[str, int]) -> None:
    assert split_listen(text) == pair
