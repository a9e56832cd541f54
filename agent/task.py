"""From a container's config to what is executed: environment, arguments, directory, program.

The rules are those of wire format v0: the environment holds the config's `env` and `PORT_<NAME>` for
every port and nothing else; `$VAR` and `${VAR}` in exec are expanded as Go's `os.Expand` does it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from agent.image import Image, ImageError, read_image
from agent.rootfs import resolve, seen_from
from config.bounds import AGENT_TASK_PIDS, LONGEST_SHOWN, SMALLEST_MEMORY_LIMIT_MB
from scheduling.job import ContainerConfig, Limits, Storage

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TMP_MODE = 0o1777

# In this order: ${NAME} with a name of any characters (empty: eaten), an unclosed "${" (eaten), one of
# the shell's special names, a plain name.
_VARIABLE = re.compile(r"\$(?:\{([^}]*)\}|(\{)|([*#$@!?0-9-])|([A-Za-z_][A-Za-z0-9_]*))")


class StartError(Exception):
    """A task can't be started as its config says; the text becomes `process_state.err`."""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver needs to start one task; `files` is the limit of open files, 0 for no own limit.

    Of `limits` 0 is none; `share` is the cores it should have when all are busy. `root` is the unpacked
    artifact, or what is the root file system of it; with `own_root` that is the task's root, and
    `working_dir` and `program` are places in it. `ids`: uid and gid of the program, where the
    driver lets an image say.
    """

    directory: Path
    root: Path
    working_dir: Path
    program: Path
    arguments: list[str]
    env: dict[str, str]
    files: int
    limits: Limits = Limits()
    share: float = 0.0
    storage: Storage = Storage()
    own_root: bool = False
    ids: tuple[int, int] = (0, 0)


def environment(config: ContainerConfig) -> dict[str, str]:
    """All variables that the task gets."""
    ports = {f"PORT_{name}": str(port) for name, port in (config.ports or {}).items()}
    return {**(config.env or {}), **ports}


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$VAR` and `${VAR}`; an unknown variable is empty, a lone `$` stays."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[3] or match[4]
        return env.get(name, "") if name else ""

    return _VARIABLE.sub(value, text)


def prepare(config: ContainerConfig, directory: Path) -> Task:
    """Work out what to execute for a container whose files are in `directory`. Raises StartError."""
    image = _image(config, directory / "root")
    root = image.root
    env = {**image.env, **environment(config)}
    words = [expand(word, env) for word in config.command.exec or []]
    if not words or not words[0]:
        raise StartError(f"exec {config.command.exec} names no program once its variables are expanded")
    if image.own:
        working_dir, program = _in_own_root(root, config.command.working_dir, words[0], env)
    else:
        working_dir, program = _on_host(root, config.command.working_dir, words[0], env)
    return Task(
        directory=directory,
        root=root,
        working_dir=working_dir,
        program=program,
        arguments=words[1:],
        env=env,
        files=config.resources.fd,
        limits=effective_limits(config),
        share=config.resources.cpu,
        storage=config.storage,
        own_root=image.own,
        ids=image.ids,
    )


def _image(config: ContainerConfig, artifact: Path) -> Image:
    try:
        return read_image(artifact, config.driver)
    except ImageError as error:
        raise StartError(str(error)) from error


def _on_host(root: Path, folder: str, name: str, env: Mapping[str, str]) -> tuple[Path, Path]:
    working_dir = inside(root, folder)
    if working_dir is None or not _there(working_dir.is_dir):
        raise StartError(f"working_dir {_shown(folder)} is not a directory of the artifact")
    return working_dir, _program(name, list(_candidates(name, working_dir, root, env)))


def places(task: Task, name: str) -> list[str]:
    """Where a program may be that is to run beside a task, best first, as the task sees it."""
    if not task.own_root:
        return [str(place) for place in _candidates(name, task.working_dir, task.root, task.env)]
    if "/" in name:
        return [name]
    return [f"{folder}/{name}" for folder in (task.env.get("PATH") or DEFAULT_PATH).split(":")]


def _in_own_root(root: Path, folder: str, name: str, env: Mapping[str, str]) -> tuple[Path, Path]:
    working_dir = resolve(root, folder)
    if working_dir is None or not _there(working_dir.is_dir):
        raise StartError(f"working_dir {_shown(folder)} is not a directory of the artifact")
    if name.startswith("/"):
        names = [name]
    elif "/" in name:
        names = [f"{folder}/{name}", name]
    else:
        names = [f"{place}/{name}" for place in (env.get("PATH") or DEFAULT_PATH).split(":")]
    candidates = [place for each in names if (place := resolve(root, each)) is not None]
    return seen_from(root, working_dir), seen_from(root, _program(name, candidates))


def effective_limits(config: ContainerConfig) -> Limits:
    """What a task can't get beyond, of what it asks for and what is usual."""
    asked = config.limits or Limits()
    mem = asked.mem or config.resources.mem
    return Limits(
        mem=max(mem, SMALLEST_MEMORY_LIMIT_MB) if mem else 0,
        cpu=asked.cpu,
        pids=asked.pids or AGENT_TASK_PIDS,
    )


def inside(root: Path, path: str) -> Path | None:
    """`path` below `root`, symbolic links followed; None if that leads out of it."""
    top = Path(os.path.realpath(root))
    resolved = Path(os.path.realpath(top / path.lstrip("/")))
    return resolved if resolved.is_relative_to(top) else None


def make_storage(config: ContainerConfig, artifact: Path) -> None:
    """Put the task's tmp directories and volumes into its freshly unpacked artifact.

    A process sees the host's own file system, so a volume is a link to the host path; an empty
    directory of the artifact makes way for it. Raises OSError, and StartError for a path that leads out
    of the root or has other files: the task would write its data to the wrong place without noticing.
    """
    if not config.storage.tmp and not config.storage.volumes:
        return
    image = _image(config, artifact)
    root = image.root
    for path in config.storage.tmp or {}:
        place = place_of(root, path)
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(_TMP_MODE)
    for path, host_path in (config.storage.volumes or {}).items():
        place = place_of(root, path)
        if image.own:
            # Where it is mounted.
            place.mkdir(parents=True, exist_ok=True)
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()
        if os.path.lexists(place):
            raise StartError(f"volume {path} can't be placed: the artifact has files there")
        place.symlink_to(host_path)


def place_of(root: Path, path: str) -> Path:
    """Where on the host a path of `storage` is. Raises StartError: there may be a link to elsewhere."""
    place = inside(root, os.path.normpath(path))
    if place is None or place == Path(os.path.realpath(root)):
        raise StartError(f"storage path {path} is not inside the artifact")
    return place


def _program(name: str, candidates: Sequence[Path]) -> Path:
    for candidate in candidates:
        if _there(candidate.is_file):
            if not os.access(candidate, os.X_OK):
                raise StartError(f"{_shown(name)} is not executable ({candidate})")
            return candidate
    places = ", ".join(dict.fromkeys(str(candidate.parent) for candidate in candidates))
    raise StartError(f"{_shown(name)} was not found in {_shown(places)}")


def _there(question: Callable[[], bool]) -> bool:
    """Whether a path is what is asked; one that the system can't even look up is not."""
    try:
        return question()
    except OSError:
        return False


def _shown(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "…"


def _candidates(name: str, working_dir: Path, root: Path, env: Mapping[str, str]) -> Iterator[Path]:
    """Where a program may be, best first: the artifact's own before the host's."""
    if name.startswith("/"):
        yield root / name.lstrip("/")
        yield Path(name)
    elif "/" in name:
        yield working_dir / name
        yield root / name
    else:
        for folder in (env.get("PATH") or DEFAULT_PATH).split(":"):
            if folder.startswith("/"):
                yield root / folder.lstrip("/") / name
                yield Path(folder) / name
