"""The example of all settings: it loads, it names every one of them, and it says the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path

from config import settings as settings_module
from config.settings import Settings, load_settings

FOLDER = Path(str(settings_module.__file__)).parent
EXAMPLE = FOLDER / "harpoon.example.toml"


def test_the_example_loads_and_changes_nothing() -> None:
    assert load_settings({}, {}, EXAMPLE) == load_settings({}, {}, None)


def test_the_example_names_every_setting_and_no_other() -> None:
    named = set(tomllib.loads(EXAMPLE.read_text("utf-8")))
    assert named == set(Settings.__struct_fields__)
    assert named == set(tomllib.loads((FOLDER / "defaults.toml").read_text("utf-8")))


def test_the_page_on_configuration_has_a_row_for_every_setting() -> None:
    page = (FOLDER.parent / "docs" / "configuration.md").read_text("utf-8")
    for name in Settings.__struct_fields__:
        assert f"| `{name}` " in page, name
        assert f"HARPOON_{name.upper()}" in page, name
