"""The shape of the project: which way dependencies point, what each file says of itself, what is shipped."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
# What each package may import of the others. Nothing points back: no cycle is possible.
MAY_IMPORT: dict[str, set[str]] = {
    "scheduling": set(),
    "config": {"scheduling"},
    "actors": {"scheduling", "config"},
    "web": {"scheduling", "config", "actors"},
    "agent": {"scheduling", "config"},
    "ctl": {"scheduling", "config"},
    "simulation": {"scheduling", "config", "actors"},
}
# Pure data that imports nothing of ours: all may import it, as if it were a package below all others.
BELOW_ALL = "config.bounds"
# What the rules may use: values, no world. `random` only to name the generator they are given.
RULES_MAY_USE = {
    "__future__",
    "collections",
    "datetime",  # to spell a time that was given; what asks the clock is looked for below
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "importlib",  # a placement algorithm of one's own is loaded by name
    "itertools",
    "msgspec",
    "random",
    "re",
    "scheduling",
    "typing",
    "urllib",  # its parser of addresses
}
NOT_SHIPPED = {"tests", "bench", "docs", "examples"}
LONGEST_FILE_LINES = 400

Import = tuple[str, str]


def packages() -> list[str]:
    return sorted(
        path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name not in NOT_SHIPPED
    )


MODULES = sorted(path for package in packages() for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> list[Import]:
    """The (module, name) pairs that a file imports, also inside functions; name "" for a whole module."""
    found: list[Import] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} imports by a relative name"
            found += [(node.module or "", alias.name) for alias in node.names]
    return found


def root_of(module: str) -> str:
    """The package that a module is of; what is below all counts as one of its own."""
    return module if module == BELOW_ALL else module.partition(".")[0]


def test_every_package_has_its_place_in_the_order() -> None:
    assert set(packages()) <= set(MAY_IMPORT)
    for package, below in MAY_IMPORT.items():
        assert not any(package in MAY_IMPORT[other] for other in below), "dependencies point one way"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_dependencies_point_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    used = {root_of(module) for module, _ in imports(path)} & (set(MAY_IMPORT) | NOT_SHIPPED)
    assert used <= {package} | MAY_IMPORT[package]


def test_what_is_below_all_imports_nothing_of_ours() -> None:
    for path in (ROOT / "config" / "bounds.py", ROOT / "config" / "__init__.py"):
        assert imports(path) == []


# How the running program prints; the rules themselves write nothing.
PRINTS = {"scheduling/diagram.py": {"sys"}}


@pytest.mark.parametrize("path", [path for path in MODULES if path.parent.name == "scheduling"], ids=name_of)
def test_the_rules_know_no_world(path: Path) -> None:
    used = imports(path)
    modules = {root_of(module) for module, _ in used} - {BELOW_ALL}
    assert modules <= RULES_MAY_USE | PRINTS.get(name_of(path), set())
    assert {name for module, name in used if module == "random"} <= {"Random"}
    assert {name for module, name in used if module.startswith("urllib")} <= {"urlsplit"}
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    calls = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert not calls & {"open", "print", "input", "exec", "eval"}
    asked = {
        node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)
    }
    assert not asked & {"now", "utcnow", "today"}, "time is an argument"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_file_says_what_it_is_for_and_holds_one_idea(path: Path) -> None:
    text = path.read_text("utf-8")
    assert ast.get_docstring(ast.parse(text)), "a docstring says where it stands"
    assert len(text.splitlines()) <= LONGEST_FILE_LINES


def test_the_walk_sees_what_it_should(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text("import os.path, falcon\ndef f():\n    from web.app import x, y\n")
    assert imports(sample) == [("os.path", ""), ("falcon", ""), ("web.app", "x"), ("web.app", "y")]
    assert len(MODULES) > 50


def test_the_wheel_ships_all_that_runs_and_nothing_else() -> None:
    """Packages with all that is in them; the tests, benchmarks and documents stay at home."""
    shipped = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert sorted(shipped) == packages()
    assert not set(shipped) & NOT_SHIPPED


def test_the_commands_lead_to_functions_that_are_there() -> None:
    for command, target in PROJECT["project"]["scripts"].items():
        module, _, function = target.partition(":")
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text("utf-8"))
        defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        assert function in defined, command


def test_every_library_that_is_imported_is_a_declared_dependency() -> None:
    declared = {
        line.partition(">")[0].partition("=")[0].strip() for line in PROJECT["project"]["dependencies"]
    }
    declared = {{"pyyaml": "yaml"}.get(name, name) for name in declared}
    ours = set(MAY_IMPORT) | set(sys.stdlib_module_names)
    used = {module.partition(".")[0] for path in MODULES for module, _ in imports(path)} - ours
    assert used <= declared


def test_test_files_have_names_of_their_own() -> None:
    """There are no packages in tests/: two files of one name would hide each other."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
