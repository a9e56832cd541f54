"""Job files: the three formats, and that every mistake of syntax is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ctl.errors import UserMistakeError
from ctl.files import JobFile, parse, read_job_file, read_json, read_toml, read_yaml

JSON = '{"scale": 2, "product": "p", "environment": "e", "job": "j", "env": {"A": "é"}}'
YAML = "scale: 2\nproduct: p\nenvironment: e\njob: j\nenv: {A: é}\n"
TOML = 'scale = 2\nproduct = "p"\nenvironment = "e"\njob = "j"\nenv = {A = "é"}\n'


@pytest.mark.parametrize(
    ("ending", "text"), [(".json", JSON), (".yaml", YAML), (".yml", YAML), (".toml", TOML), (".JSON", JSON)]
)
def test_all_formats_say_the_same(tmp_path: Path, ending: str, text: str) -> None:
    path = tmp_path / f"job{ending}"
    path.write_text("\ufeff" + text, encoding="utf-8")
    found = read_job_file(str(path))
    assert found.config == {"scale": 2, "product": "p", "environment": "e", "job": "j", "env": {"A": "é"}}
    assert str(found.key) == "p/e/j"


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("a.json", b'{"a": 1,\n "b" 2}', "a.json:2:6: expecting ':' delimiter"),
        ("a.json", b'{"a": NaN}', "a is nan"),
        ("a.json", b'{"a": "\xff"}', "a.json:1:8: byte 0xff is not UTF-8"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.json", b'{"a": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deeply"),
        ("a.json", b'{"a": ' + b"1" * 5000 + b"}", "4300 digits"),
        ("a.json", b"[1]", "a mapping of fields"),
        ("a.json", b"", "a.json:1:1: "),
        ("a.yaml", b"", "a mapping of fields"),
        ("a.yaml", b"a: [1\nb: 2", "a.yaml:2:2: expected ',' or ']'"),
        ("a.yaml", b"a: 1\nb: \x07", "a.yaml:2:4: character U+0007"),
        ("a.yaml", b"day: 2024-13-45", "month must be in 1..12"),
        ("a.yaml", b"env: {DAY: 2024-01-02}", "env.DAY is read as a date or time (2024-01-02)"),
        ("a.yaml", b"env: {1: x}", "env has the key 1, which is not text"),
        ("a.yaml", b"a: .inf", "a is inf"),
        ("a.yaml", b"a: &x [*x]", "nested too deeply"),
        (
            "a.yaml",
            b"a: !!python/object/apply:os.system [true]",
            "a.yaml:1:4: could not determine a constructor",
        ),
        ("a.yaml", b"a: !!set {x}", "a is a set"),
        ("a.yaml", b"a: 1\n---\nb: 2", "a.yaml:2:1: but found another document"),
        ("a.toml", b"a = 1\nb = =", "a.toml:2:5: invalid value"),
        ("a.toml", b'a = "x', "a.toml:1:7: "),
        ("a.toml", b"a = 2024-01-02", "a is read as a date or time"),
    ],
)
def test_every_mistake_names_the_file_and_its_place(name: str, raw: bytes, said: str) -> None:
    reader = {"json": read_json, "yaml": read_yaml, "toml": read_toml}[name.rpartition(".")[2]]
    with pytest.raises(UserMistakeError) as caught:
        parse(raw, reader, name)
    assert said in caught.value.lines[0]
    assert caught.value.lines[0].startswith(name)


def test_a_small_file_that_grows_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(UserMistakeError, match="more than 100000 values"):
        parse("\n".join(lines).encode(), read_yaml, "a.yaml")


def test_an_unquoted_no_is_a_restart_policy_in_yaml() -> None:
    assert parse(b"restart: no\nx: no", read_yaml, "a.yaml") == {"restart": "no", "x": False}


@pytest.mark.parametrize("name", ["a.txt", "job"])
def test_an_ending_that_says_nothing_is_refused(name: str) -> None:
    with pytest.raises(UserMistakeError, match=r"the ending must be one of \.json"):
        read_job_file(name)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserMistakeError, match=r"x\.json: No such file"):
        read_job_file(str(tmp_path / "x.json"))


def test_names_that_make_no_address_are_told_in_the_schedulers_words() -> None:
    with pytest.raises(UserMistakeError) as caught:
        _ = JobFile("f.json", {"product": "a/b", "environment": 3, "job": "j"}).key
    assert [line.partition(";")[0] for line in caught.value.lines] == [
        'f.json: product is "a/b"',
        "f.json: environment is 3",
    ]
