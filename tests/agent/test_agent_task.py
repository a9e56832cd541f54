"""From config to what is executed: expansion as in Go, resolving of programs and directories."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.task import StartError, environment, expand, make_storage, prepare
from scheduling.job import Command, ContainerConfig, Resources, Storage


def made(directory: Path, *files: str) -> Path:
    """A container's directory whose root has some executable files."""
    for file in files or ("bin/web",):
        path = directory / "root" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)
    return directory


def wanted(*words: str, working_dir: str = "/", **env: str) -> ContainerConfig:
    return ContainerConfig(command=Command(working_dir=working_dir, exec=list(words)), env=env)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("-listen=$PORT_HTTP", "-listen=8080"),
        ("${PORT_HTTP}1", "80801"),
        ("$A$A", "xx"),
        ("$UNKNOWN-", "-"),
        ("${UNKNOWN}", ""),
        ("a$", "a$"),
        ("$ a", "$ a"),
        ("$.", "$."),
        ("$$A", "A"),
        ("${}A", "A"),
        ("${A", "A"),
        ("$1A", "A"),
        ("${a b}", "spaced"),
        ("$A_", ""),
        ("é$Aé", "éxé"),
        ("$é", "$é"),
    ],
)
def test_expansion_is_that_of_go(text: str, expanded: str) -> None:
    assert expand(text, {"A": "x", "PORT_HTTP": "8080", "a b": "spaced"}) == expanded


def test_values_are_not_expanded_again() -> None:
    assert expand("$A", {"A": "$B", "B": "no"}) == "$B"


def test_the_environment_is_env_and_ports() -> None:
    config = ContainerConfig(env={"A": "1", "PORT_HTTP": "mine"}, ports={"HTTP": 80, "db": 5432})
    assert environment(config) == {"A": "1", "PORT_HTTP": "80", "PORT_db": "5432"}


def test_a_relative_program_is_below_the_working_dir_or_the_root(tmp_path: Path) -> None:
    directory = made(tmp_path, "srv/web", "bin/tool")
    task = prepare(wanted("./web", "-p", "$P", working_dir="/srv", P="80"), directory)
    assert task.program == directory / "root/srv/web"
    assert task.working_dir == directory / "root/srv"
    assert task.arguments == ["-p", "80"]
    assert prepare(wanted("bin/tool", working_dir="srv"), directory).program == directory / "root/bin/tool"


def test_an_absolute_program_is_the_artifacts_or_the_hosts(tmp_path: Path) -> None:
    directory = made(tmp_path, "bin/web")
    assert prepare(wanted("/bin/web"), directory).program == directory / "root/bin/web"
    assert prepare(wanted("/bin/sh"), directory).program == Path("/bin/sh")


def test_a_plain_name_is_looked_up_in_the_tasks_own_path(tmp_path: Path) -> None:
    directory = made(tmp_path, "opt/web")
    assert prepare(wanted("web", PATH="relative:/opt"), directory).program == directory / "root/opt/web"
    assert prepare(wanted("sh"), directory).program.name == "sh"
    with pytest.raises(StartError, match=r"sh was not found in .*/root/opt, /opt"):
        prepare(wanted("sh", PATH="/opt"), directory)


def test_a_working_dir_does_not_leave_the_artifact(tmp_path: Path) -> None:
    directory = made(tmp_path)
    (directory / "root/out").symlink_to("/etc")
    for working_dir in ("..", "/../..", "/out", "bin/../../..", "/missing", "/bin/web"):
        with pytest.raises(StartError, match="is not a directory of the artifact"):
            prepare(wanted("sh", working_dir=working_dir), directory)


def test_the_limit_of_files_is_passed_on(tmp_path: Path) -> None:
    config = ContainerConfig(command=Command(working_dir="/", exec=["sh"]), resources=Resources(fd=77))
    assert prepare(config, made(tmp_path)).files == 77


def test_tmp_and_volumes_appear_in_the_root(tmp_path: Path) -> None:
    root = made(tmp_path, "data/.keep", "empty/x") / "root"
    (root / "empty/x").unlink()
    volume = tmp_path / "volume"
    volume.mkdir()
    storage = Storage(
        tmp={"/tmp": -1, "/var/tmp": 10}, volumes={"/empty": str(volume), "/deep/down": str(volume)}
    )
    make_storage(ContainerConfig(storage=storage), root)
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (root / "var/tmp").is_dir()
    assert (root / "empty").readlink() == volume
    assert (root / "deep/down").readlink() == volume


@pytest.mark.parametrize("path", ["/data", "/", "/out/x", "/data/../.."])
def test_a_volume_never_hides_files_or_leaves_the_root(tmp_path: Path, path: str) -> None:
    root = made(tmp_path, "data/file") / "root"
    (root / "out").symlink_to(tmp_path)
    with pytest.raises(StartError, match=r"volume /data can't be placed|is not inside the artifact"):
        make_storage(ContainerConfig(storage=Storage(volumes={path: "/etc"})), root)
    assert (root / "data/file").exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["root"]
