"""Taking over the registry file of the first harpoon-scheduler: all of it, or nothing and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.importing import ImportFileError, import_jobs, read_old_registry
from actors.store import Store
from scheduling.canonical import go_json
from scheduling.desired import JOB, Desired
from scheduling.job import JOB_CONFIG_DECODER, JobConfig
from scheduling.migrating import PutJob
from scheduling.registry import judge

# As GET /registry of the first implementation wrote it.
WEB = (
    r'{"scale":2,"product":"search","environment":"prod","job":"web","health_checks":[{"protocol":"HTTP",'
    r'"port":"PORT_HTTP","initial_delay":"1s","timeout":"1s","interval":"5s","http_path":"/-/health",'
    r'"http_acceptable_responses":[200,204]}],"artifact_url":"http://asset-host.test/busybox.tar.gz",'
    r'"ports":{"HTTP":0},"env":{"A":"a\u003cb\u003e\u0026c é","B":"2"},"command":{"working_dir":"/",'
    r'"exec":["./web","-listen=$PORT_HTTP"]},"resources":{"mem":64,"cpu":0.1,"fd":32768},'
    r'"storage":{"tmp":{"/tmp":-1},"volumes":{"/data":"/data/mysql000"}},'
    r'"grace":{"startup":"3s","shutdown":"1.5s"},"restart":"on-failure"}'
)
MIN = (
    '{"scale":1,"product":"p","environment":"e","job":"min","health_checks":null,"artifact_url":"",'
    '"ports":null,"env":null,"command":{"working_dir":"/","exec":["true"]},'
    '"resources":{"mem":0,"cpu":1,"fd":0},"storage":{"tmp":null,"volumes":null},'
    '"grace":{"startup":"1s","shutdown":"1s"},"restart":"no"}'
)
FILE = f'{{"min-aad7b17":{MIN},"web-ec609ab":{WEB}}}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "scheduler-registry.json"
    path.write_text(FILE, "utf-8")
    return path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "data").mkdir()
    store = Store(tmp_path / "data")
    yield store
    store.close()


def refusal(path: Path) -> str:
    with pytest.raises(ImportFileError) as caught:
        read_old_registry(path)
    assert "\n" not in str(caught.value), "one line"
    assert str(path) in str(caught.value)
    return str(caught.value)


def changed(**fields: Any) -> str:
    raw = json.loads(MIN) | fields
    config = JOB_CONFIG_DECODER.decode(json.dumps(raw).encode())
    return json.dumps({config.hash(): raw})


def test_an_old_file_is_read_as_it_was_written(file: Path) -> None:
    jobs = read_old_registry(file)
    assert [job.hash() for job in jobs] == ["min-aad7b17", "web-ec609ab"]
    assert go_json({job.hash(): job for job in jobs}) + b"\n" == file.read_bytes()


def test_its_jobs_are_there_afterwards_and_may_run_already(file: Path, store: Store) -> None:
    assert import_jobs(store, read_old_registry(file)) == 2
    version, state = store.load()
    assert version == 1
    assert {key for key in state if key[0] == JOB} == {(JOB, "min-aad7b17"), (JOB, "web-ec609ab")}
    for prefix, job in ((key[1], value) for key, value in state.items() if key[0] == JOB):
        assert (job.prefix, job.hash, job.adopt, job.version) == (prefix, prefix, True, 1)


def test_importing_again_changes_nothing(file: Path, store: Store) -> None:
    import_jobs(store, read_old_registry(file))
    before = store.load()
    assert import_jobs(store, read_old_registry(file)) == 0
    assert store.load() == before


def test_jobs_that_are_there_already_are_left_as_they_are(file: Path, store: Store) -> None:
    config = JOB_CONFIG_DECODER.decode(MIN.encode())
    desired = Desired()
    for version, scale in ((1, 1), (2, 5)):
        put = PutJob(config=msgspec.structs.replace(config, scale=scale))
        _, changes = judge(desired, put, version)
        desired.apply(changes)
        store.commit(version, changes, {})
    assert import_jobs(store, read_old_registry(file)) == 1
    version, state = store.load()
    assert version == 3
    there = state[JOB, "min-aad7b17"]
    assert (there.config.scale, there.adopt) == (5, False)
    assert state[JOB, "web-ec609ab"].adopt


def test_an_empty_file_has_no_jobs(file: Path, store: Store) -> None:
    file.write_text("{}\n")
    assert read_old_registry(file) == []
    assert import_jobs(store, []) == 0
    assert store.load() == (0, {})


def test_a_hash_that_does_not_match_its_config_is_refused(file: Path) -> None:
    file.write_text(FILE.replace("min-aad7b17", "min-0000000"), "utf-8")
    assert refusal(file) == f"{file}: min-0000000 does not match its config, whose hash is min-aad7b17"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"scale": 0}, "scale is 0; it must be from 1 to 1000"),
        ({"restart": "never"}, "restart is 'never'; it must be one of no, on-failure, always"),
        ({"job": "a/b"}, "job is 'a/b'; it must be 1 to 100 letters"),
    ],
)
def test_a_config_that_is_not_right_is_refused_by_its_name(
    file: Path, fields: dict[str, Any], why: str
) -> None:
    file.write_text(changed(**fields))
    text = refusal(file)
    name = next(iter(json.loads(file.read_text())))
    assert text.startswith(f"{file}: {name}: {why}")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"min-aad7b17":5}',
        b'{"min-aad7b17":{"scale":"one"}}',
        b'{"min-aad7b17":{"grace":{"startup":"soon"}}}',
        b'{"min-aad7b17":{"job":"\xff"}}',
        b'{"a":' * 100_000,
        FILE.encode()[:-5],
    ],
    ids=["empty", "text", "list", "number", "wrong type", "no duration", "no UTF-8", "deep", "cut off"],
)
def test_a_file_that_is_no_registry_is_refused(file: Path, body: bytes) -> None:
    file.write_bytes(body)
    assert refusal(file).startswith(f"{file} is no registry file: ")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(missing) == f"{missing} can't be read: No such file or directory"
    assert refusal(tmp_path) == f"{tmp_path} can't be read: Is a directory"


def test_fields_that_the_old_one_did_not_know_are_ignored(file: Path) -> None:
    file.write_text(f'{{"min-aad7b17":{MIN[:-1]},"tomorrow":1}}}}')
    (config,) = read_old_registry(file)
    assert isinstance(config, JobConfig)
    assert config.hash() == "min-aad7b17"
