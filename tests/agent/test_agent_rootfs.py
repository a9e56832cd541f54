"""Looking up places in a root file system: links lead to places in it, whatever they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.rootfs import is_root_filesystem, resolve, seen_from
from agent.task import StartError, prepare
from scheduling.job import Command, ContainerConfig, Resources


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for folder in ("etc", "usr/bin", "srv"):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/tool").touch(mode=0o755)
    (root / "bin").symlink_to("/usr/bin")
    (root / "usr/bin/sh").symlink_to("/bin/tool")
    (root / "srv/out").symlink_to("../../../../../usr/bin")
    (root / "srv/loop").symlink_to("loop")
    return root


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/bin/tool", "usr/bin/tool"),
        ("/bin/sh", "usr/bin/tool"),
        ("srv/out/tool", "usr/bin/tool"),
        ("/../../etc", "etc"),
        ("//srv/./../etc", "etc"),
        ("/no/such", "no/such"),
        ("/", ""),
    ],
)
def test_a_link_leads_to_a_place_in_it(root: Path, path: str, place: str) -> None:
    found = resolve(root, path)
    assert found == root / place
    assert found is not None
    assert seen_from(root, found) == Path("/") / place


def test_a_loop_of_links_leads_nowhere(root: Path) -> None:
    assert resolve(root, "/srv/loop/x") is None


def test_what_is_a_root_file_system(root: Path, tmp_path: Path) -> None:
    assert is_root_filesystem(root)
    (tmp_path / "app/bin").mkdir(parents=True)
    assert not is_root_filesystem(tmp_path / "app"), "an application with a directory of programs is none"


def wanted(program: str, driver: str = "bubblewrap", folder: str = "/srv") -> ContainerConfig:
    command = Command(working_dir=folder, exec=[program])
    return ContainerConfig(driver=driver, command=command, resources=Resources(cpu=1.0))


def test_a_program_is_looked_for_in_the_root_of_the_task_only(root: Path) -> None:
    for name in ("tool", "/bin/sh", "out/tool", "../bin/tool"):
        task = prepare(wanted(name), root.parent)
        assert (task.own_root, task.working_dir, task.program) == (True, Path("/srv"), Path("/usr/bin/tool"))
    for name in ("env", "/usr/bin/env"):
        with pytest.raises(StartError, match=f"{name} was not found"):
            prepare(wanted(name), root.parent)
    with pytest.raises(StartError, match="working_dir /nowhere is not a directory"):
        prepare(wanted("tool", folder="/nowhere"), root.parent)


def test_a_plain_process_has_the_root_of_the_host(root: Path) -> None:
    task = prepare(wanted("env", driver="process"), root.parent)
    assert not task.own_root
    assert task.program.name == "env"
