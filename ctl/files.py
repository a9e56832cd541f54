"""Job files: JSON, YAML or TOML, by their ending; `-` is standard input, JSON or YAML.

Only the syntax is checked here, with line and column. What a job may be is the scheduler's to say, so
that an old harpoonctl does not refuse what a new scheduler knows.
"""

from __future__ import annotations

import datetime
import json
import math
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import yaml

from config.bounds import DEEPEST, MOST_VALUES
from ctl.errors import UserMistakeError
from ctl.problems import field_line
from ctl.shapes import FieldError
from scheduling.job import JobConfig, JobKey
from scheduling.validation import container_problems

STDIN = "-"
_TOML_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


class JobFile(msgspec.Struct, frozen=True):
    """A job file's name, as the user wrote it, and what it holds."""

    name: str
    config: dict[str, Any]

    @property
    def key(self) -> JobKey:
        """Which job this is. Raises UserMistakeError when its names can't be part of an address.

        The scheduler's own rule and words: without a proper key there is no URL to send the rest to.
        """
        names = [self.config.get(field, "") for field in ("product", "environment", "job")]
        key = JobKey(*(name if isinstance(name, str) else "" for name in names))
        config = JobConfig(product=key.product, environment=key.environment, job=key.job)
        wrong = [
            FieldError(problem.field, problem.expected, self.config.get(problem.field))
            for problem in container_problems(config)
            if problem.field in ("product", "environment", "job")
        ]
        if wrong:
            raise UserMistakeError(*(f"{self.name}: {field_line(error)}" for error in wrong))
        return key

    def json(self) -> bytes:
        """The config as a request's body."""
        return json.dumps(self.config, ensure_ascii=True).encode()


def is_job_file(text: str) -> bool:
    """Whether a FILE|HASH|JOB argument means a file: by its ending, or `-`."""
    return text == STDIN or Path(text).suffix.lower() in _READERS


def read_job_file(name: str) -> JobFile:
    """Read one job file. Raises UserMistakeError with file, line and column of what is wrong."""
    shown = "standard input" if name == STDIN else name
    reader = _read_stdin if name == STDIN else _READERS.get(Path(name).suffix.lower())
    if reader is None:
        raise UserMistakeError(f"{name}: the ending must be one of {', '.join(_READERS)}")
    try:
        raw = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
    except OSError as error:
        raise UserMistakeError(f"{shown}: {error.strerror or error}") from error
    return JobFile(shown, parse(raw, reader, shown))


def parse(raw: bytes, reader: Callable[[str, str], Any], shown: str) -> dict[str, Any]:
    """What `reader` makes of the bytes of a file; it must be a mapping of what JSON can hold."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        _fail(shown, f"byte 0x{raw[error.start]:02x} is not UTF-8", line, column)
    try:
        value = reader(text, shown)
    except RecursionError:
        raise UserMistakeError(f"{shown}: nested too deeply") from None
    except ValueError as error:  # a number or a date that has the form of one but is none
        raise UserMistakeError(f"{shown}: {error}") from error
    if not isinstance(value, dict):
        raise UserMistakeError(f"{shown}: it must hold one job, a mapping of fields to values")
    _Checker(shown).check(value, "", 0)
    return value


def read_json(text: str, shown: str) -> Any:
    """JSON, without the numbers that only Python has."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        _fail(shown, error.msg[:1].lower() + error.msg[1:], error.lineno, error.colno)


def read_yaml(text: str, shown: str) -> Any:
    """YAML, only its plain values."""
    try:
        value = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        said = error.problem or error.context or "not YAML"
        mark = error.problem_mark or error.context_mark
        if mark is None:
            raise UserMistakeError(f"{shown}: {said}") from error
        _fail(shown, said, mark.line + 1, mark.column + 1)
    except yaml.reader.ReaderError as error:
        line, column = _place(text, error.position)
        _fail(shown, f"character U+{ord(text[error.position]):04X} is not allowed here", line, column)
    # To YAML an unquoted `no` is false, and it is one of the three restart policies.
    if isinstance(value, dict) and value.get("restart") is False:
        value["restart"] = "no"
    return value


def read_toml(text: str, shown: str) -> Any:
    """TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        match = _TOML_PLACE.fullmatch(str(error))
        said = match[1] if match else str(error)
        line, column = _place(text, len(text))
        if match and match[2]:
            line, column = int(match[2]), int(match[3])
        _fail(shown, said[:1].lower() + said[1:], line, column)


def _read_stdin(text: str, shown: str) -> Any:
    # YAML is nearly a superset of JSON, but explains JSON's mistakes badly.
    return (read_json if text.lstrip().startswith(("{", "[")) else read_yaml)(text, shown)


_READERS = {".json": read_json, ".yaml": read_yaml, ".yml": read_yaml, ".toml": read_toml}


def _place(text: str, position: int) -> tuple[int, int]:
    """Line and column, from 1, of a position in a text."""
    return text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)


def _fail(shown: str, said: str, line: int, column: int) -> NoReturn:
    raise UserMistakeError(f"{shown}:{line}:{column}: {said}") from None


class _Checker:
    """Finds what YAML and TOML can say and JSON can't."""

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._values = 0

    def check(self, value: Any, path: str, depth: int) -> None:
        """Raise UserMistakeError naming the field that has no JSON form."""
        self._values += 1
        if depth > DEEPEST:
            raise UserMistakeError(f"{self._shown}: nested too deeply")
        if self._values > MOST_VALUES:
            raise UserMistakeError(f"{self._shown}: more than {MOST_VALUES} values")
        if isinstance(value, dict):
            for name, item in value.items():
                if not isinstance(name, str):
                    self._refuse(path, f"has the key {name!r}, which is not text; write it in quotes")
                self.check(item, f"{path}.{name}" if path else name, depth + 1)
        elif isinstance(value, list):
            for position, item in enumerate(value):
                self.check(item, f"{path}[{position}]", depth + 1)
        elif isinstance(value, float) and not math.isfinite(value):
            self._refuse(path, f"is {value}, which is no number that JSON has")
        elif isinstance(value, datetime.date | datetime.time):
            self._refuse(path, f"is read as a date or time ({value}); write it in quotes")
        elif value is not None and not isinstance(value, bool | int | float | str):
            self._refuse(path, f"is a {type(value).__name__}, which JSON does not have")

    def _refuse(self, path: str, why: str) -> NoReturn:
        raise UserMistakeError(f"{self._shown}: {path or 'the file'} {why}")
