"""The canonical bytes and the hash of a job: exactly those of the wire format (v0).

The expectations of the property tests come from `expected`, an independent reading of the rules:
fields in their order, map keys bytewise, null against empty, Go's escapes, floats and durations.
"""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rules_made import PROPERTY, job_config

from scheduling.canonical import GoStruct, go_float, go_json, go_text, job_hash
from scheduling.container import ContainerInstance, HostResources, StateEvent
from scheduling.durations import Duration
from scheduling.job import (
    JOB_CONFIG_DECODER,
    Command,
    ContainerConfig,
    Grace,
    HealthCheck,
    JobConfig,
    Resources,
    Storage,
    task_id,
    task_index,
    task_prefix,
    unknown_fields,
)

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


def read(text: str) -> JobConfig:
    return JOB_CONFIG_DECODER.decode(text.encode())


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (WEB, "web-ec609ab"),
        (MIN, "min-aad7b17"),
        (MIN.replace('"env":null', '"env":{}'), "min-21bcce0"),
        (MIN.replace('"ports":null', '"ports":{}'), "min-22b7040"),
        (MIN.replace('"health_checks":null', '"health_checks":[]'), "min-9b1dcb0"),
    ],
)
def test_the_hashes_captured_from_the_first_implementation_come_out(text: str, name: str) -> None:
    assert read(text).hash() == name
    assert read(text).canonical().decode() == text


def test_the_hash_is_over_the_canonical_bytes_and_one_newline() -> None:
    body = read(MIN).canonical() + b"\n"
    assert len(body) == 296
    assert hashlib.md5(body).hexdigest() == "aad7b177b5ee8971cf5f4238328379ff"
    assert job_hash("any", read(MIN).canonical()) == "any-aad7b17"


def test_neither_order_nor_spaces_nor_spelling_of_a_request_change_the_hash() -> None:
    raw = json.loads(WEB)
    shuffled = json.dumps(dict(reversed(raw.items())), indent=3).replace("1.5s", "1500ms")
    assert read(shuffled).hash() == "web-ec609ab"


def test_absent_and_null_are_the_same_and_empty_is_another() -> None:
    without = json.loads(MIN)
    del without["env"]
    assert read(json.dumps(without)).hash() == "min-aad7b17"
    assert read(json.dumps(without | {"env": {}})).hash() == "min-21bcce0"


def test_what_is_ours_follows_restart_and_only_where_it_is_set() -> None:
    ours = json.loads(MIN) | {"driver": "bubblewrap", "limits": {"cpu": 0.5, "pids": 9}, "restart_limit": 3}
    expected = MIN[:-1] + ',"driver":"bubblewrap","limits":{"cpu":0.5,"pids":9},"restart_limit":3}'
    assert read(json.dumps(ours)).canonical().decode() == expected
    unset = json.loads(MIN) | {"driver": "", "limits": None, "restart_limit": 0}
    assert read(json.dumps(unset)).hash() == "min-aad7b17"


def test_a_container_config_is_the_job_config_without_its_scale() -> None:
    config = read(WEB)
    assert go_json(config.container()).decode() == WEB.replace('"scale":2,', "")
    assert type(config.container()) is ContainerConfig


# --- what the rules of the document say, read once more --------------------------------------------


def expected_text(text: str) -> str:
    named = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    out = ""
    for character in text:
        code = ord(character)
        if character in named:
            out += named[character]
        elif code < 0x20 or character in "<>&\u2028\u2029":
            out += "\\u" + format(code, "04x")
        else:
            out += character
    return '"' + out + '"'


def expected_float(number: float) -> str:
    """The shortest digits that read back, laid out by Decimal: `e` only below 1e-6 or from 1e21 on."""
    exact = Decimal(repr(number)).normalize()
    if number == 0 or 1e-6 <= abs(number) < 1e21:
        return format(exact, "f")
    mantissa, exponent = format(exact, "e").split("e")
    return f"{mantissa}e{int(exponent):+d}"


def expected_duration(nanoseconds: int) -> str:
    """The largest unit below a second; from a second on hours, minutes and seconds, no leading zero unit."""
    sign, size = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if size == 0:
        return "0s"
    for unit, length in (("ns", 1), ("µs", 10**3), ("ms", 10**6)):
        if size < length * 1000:
            return sign + format((Decimal(size) / length).normalize(), "f") + unit
    seconds = format((Decimal(size % (60 * 10**9)) / 10**9).normalize(), "f") + "s"
    minutes = size // (60 * 10**9)
    if minutes >= 60:
        return f"{sign}{minutes // 60}h{minutes % 60}m{seconds}"
    return f"{sign}{minutes}m{seconds}" if minutes else sign + seconds


def expected_map(value: dict[str, Any] | None) -> str:
    if value is None:
        return "null"
    keys = sorted(value, key=lambda key: key.encode())
    return "{" + ",".join(f"{expected_text(key)}:{expected(value[key])}" for key in keys) + "}"


def expected(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return expected_map(value)
    if isinstance(value, str):
        return expected_text(value)
    if isinstance(value, Duration):
        return f'"{expected_duration(value.nanoseconds)}"'
    if isinstance(value, list):
        return "[" + ",".join(map(expected, value)) + "]"
    return expected_float(value) if isinstance(value, float) else str(value)


def expected_fields(**fields: Any) -> str:
    return "{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}"


def expected_check(check: HealthCheck) -> str:
    optional = {
        name: expected(value)
        for name, value in (
            ("http_path", check.http_path),
            ("http_acceptable_responses", check.http_acceptable_responses),
        )
        if value
    }
    return expected_fields(
        protocol=expected(check.protocol),
        port=expected(check.port),
        initial_delay=expected(check.initial_delay),
        timeout=expected(check.timeout),
        interval=expected(check.interval),
        **optional,
    )


def expected_config(config: JobConfig) -> str:
    checks = config.health_checks
    return expected_fields(
        scale=str(config.scale),
        product=expected(config.product),
        environment=expected(config.environment),
        job=expected(config.job),
        health_checks="null" if checks is None else "[" + ",".join(map(expected_check, checks)) + "]",
        artifact_url=expected(config.artifact_url),
        ports=expected(config.ports),
        env=expected(config.env),
        command=expected_fields(
            working_dir=expected(config.command.working_dir), exec=expected(config.command.exec)
        ),
        resources=expected_fields(
            mem=expected(config.resources.mem),
            cpu=expected(config.resources.cpu),
            fd=expected(config.resources.fd),
        ),
        storage=expected_fields(tmp=expected(config.storage.tmp), volumes=expected(config.storage.volumes)),
        grace=expected_fields(
            startup=expected(config.grace.startup), shutdown=expected(config.grace.shutdown)
        ),
        restart=expected(config.restart),
    )


ODD = st.sampled_from(["<", ">", "&", '"', "\\", "/", "\b", "\f", "\n", "\r", "\t", "\x00", "\x1f", "\x7f"])
FAR = st.sampled_from(["\u2028", "\u2029", "\u2027", "é", "€", "\ufeff", "\uffff", "😀", "\U0010ffff"])
TEXT = st.lists(ODD | FAR | st.characters(exclude_categories=["Cs"]), max_size=6).map("".join)
NUMBER = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [0.0, 1e-6, 9.999999e-7, 1e-7, 1e20, 1e21, 9.9e20, 123456789.125, 0.1, 1 / 3, 5e-324, 2.0**53, 1e22]
)
LENGTH = (
    st.integers(-(2**63) + 1, 2**63 - 1)
    | st.integers(-10_000, 10_000)
    | st.integers(0, 10_000).map(lambda milliseconds: milliseconds * 10**6)
    | st.sampled_from([10**3, 10**6, 10**9, 60 * 10**9, 3600 * 10**9, 10**9 - 1, 59_999_999_999])
).map(Duration)
WHOLE = st.integers(-(2**63), 2**63 - 1)


def maps(values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any] | None]:
    return st.none() | st.dictionaries(TEXT, values, max_size=4)


CONFIG = st.builds(
    JobConfig,
    scale=WHOLE,
    product=TEXT,
    environment=TEXT,
    job=TEXT,
    health_checks=st.none()
    | st.lists(
        st.builds(
            HealthCheck,
            protocol=TEXT,
            port=TEXT,
            initial_delay=LENGTH,
            timeout=LENGTH,
            interval=LENGTH,
            http_path=TEXT,
            # An empty list is left out as an absent one is, so it can't come back.
            http_acceptable_responses=st.none() | st.lists(WHOLE, min_size=1, max_size=2),
        ),
        max_size=2,
    ),
    artifact_url=TEXT,
    ports=maps(WHOLE),
    env=maps(TEXT),
    command=st.builds(Command, working_dir=TEXT, exec=st.none() | st.lists(TEXT, max_size=2)),
    resources=st.builds(Resources, mem=WHOLE, cpu=NUMBER, fd=WHOLE),
    storage=st.builds(Storage, tmp=maps(WHOLE), volumes=maps(TEXT)),
    grace=st.builds(Grace, startup=LENGTH, shutdown=LENGTH),
    restart=TEXT,
    on_lost=st.none(),  # policy is no part of the canonical bytes
)


@PROPERTY
@given(CONFIG)
def test_canonical_bytes_follow_the_rules_of_the_wire_format(config: JobConfig) -> None:
    assert config.canonical().decode() == expected_config(config)


@PROPERTY
@given(CONFIG)
def test_canonical_bytes_read_back_as_the_same_config(config: JobConfig) -> None:
    again = JOB_CONFIG_DECODER.decode(config.canonical())
    assert again == config
    # JSON's -0 reads back as 0: no job has it, since a task needs more than no cores.
    assert again.canonical() == config.canonical().replace(b'"cpu":-0,', b'"cpu":0,')
    assert not unknown_fields(json.loads(config.canonical()))


@PROPERTY
@given(CONFIG)
def test_the_hash_is_the_job_and_seven_digits_of_the_digest(config: JobConfig) -> None:
    digest = hashlib.md5(expected_config(config).encode() + b"\n").hexdigest()
    assert config.hash() == f"{config.job}-{digest[:7]}"


@PROPERTY
@given(NUMBER)
@example(-0.0)
@example(1e-7)
@example(1e21)
def test_floats_are_written_shortest_with_an_exponent_only_at_the_ends(number: float) -> None:
    assert go_float(number) == expected_float(number)
    assert float(go_float(number)) == number


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *((1e-7, "1e-7"), (1e-6, "0.000001"), (1e21, "1e+21"), (1e20, "1" + "0" * 20), (2.5e-10, "2.5e-10")),
        *((1.0, "1"), (0.1, "0.1"), (100.0, "100"), (0.0, "0"), (-0.0, "-0"), (1.5e300, "1.5e+300")),
    ],
)
def test_floats_known_from_go(number: float, text: str) -> None:
    assert go_float(number) == text


@PROPERTY
@given(TEXT)
def test_text_is_escaped_as_go_does(text: str) -> None:
    assert go_text(text) == expected_text(text)
    assert json.loads(go_text(text)) == text


def test_text_known_from_go() -> None:
    assert go_text('<a href="x">&\u2028\u2029\b\f\n\r\t\\/\x00\x7fé') == (
        r'"\u003ca href=\"x\"\u003e\u0026\u2028\u2029\u0008\u000c\n\r\t\\/\u0000' + '\x7fé"'
    )


def test_a_lone_surrogate_becomes_the_replacement_character() -> None:
    assert go_text("a\ud800b") == '"a\ufffdb"'


def test_map_keys_are_sorted_by_their_bytes() -> None:
    keys = ["é", "z", "Z", "10", "2", "\U0001f600", "\uffff", ""]
    written = go_json(dict.fromkeys(keys, 1)).decode()
    assert list(json.loads(written)) == ["", "10", "2", "Z", "z", "é", "\uffff", "\U0001f600"]


def test_a_value_without_a_go_form_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="set has no Go JSON form"):
        go_json({"x": {1, 2}})


class Later(GoStruct, frozen=True, kw_only=True):
    """A value with a field of our own, which is part of the bytes only when it is set."""

    old: int = 0
    new: str | msgspec.UnsetType = msgspec.UNSET


def test_a_field_of_our_own_is_part_of_the_bytes_only_when_it_is_set() -> None:
    assert go_json(Later(old=1)) == b'{"old":1}'
    assert go_json(Later(old=1, new="")) == b'{"old":1,"new":""}'


def test_the_http_fields_of_a_check_are_left_out_when_empty() -> None:
    check = HealthCheck(protocol="TCP", port="P")
    assert b"http" not in go_json(check)
    assert b'"http_acceptable_responses":[0]' in go_json(
        msgspec.structs.replace(check, http_acceptable_responses=[0])
    )


def test_fields_of_our_own_change_a_hash_only_when_they_are_set() -> None:
    config = JobConfig(job="web", health_checks=[HealthCheck(protocol="TCP", port="P")])
    assert b"unhealthy_after" not in config.canonical()
    assert b"kind" not in config.canonical()
    set_here = msgspec.structs.replace(config, unhealthy_after=5)
    assert set_here.canonical().endswith(b',"restart":"","unhealthy_after":5}')
    alive = msgspec.structs.replace(
        config, health_checks=[HealthCheck(protocol="TCP", port="P", kind="liveness")]
    )
    assert b'"interval":"0s","kind":"liveness"}]' in alive.canonical()
    assert len({config.hash(), set_here.hash(), alive.hash()}) == 3


# --- what agents report -----------------------------------------------------------------------------


def test_an_instance_and_resources_are_written_as_agents_do() -> None:
    assert (
        go_json(ContainerInstance(container_id="x-0", status="created"))
        .decode()
        .endswith(
            '"process_state":{"up":false,"restarting":false,"container_exit_status":{},"restarts":0,"ooms":0,'
            '"container_metrics":{"cpu_time":0,"memory_usage":0,"memory_limit":0}}}'
        )
    )
    assert go_json(StateEvent()).decode() == (
        '{"resources":{"mem":{"total":0,"reserved":0},"cpus":{"total":0,"reserved":0},'
        '"storage":{"total":0,"reserved":0},"volumes":null},"containers":{}}'
    )
    assert go_json(HostResources(volumes=[])).decode().endswith('"volumes":[]}')


# --- names ------------------------------------------------------------------------------------------


@PROPERTY
@given(st.text(max_size=5), st.integers(0, 999))
def test_a_task_id_gives_back_its_prefix_and_index(prefix: str, index: int) -> None:
    task = task_id(prefix, index)
    assert (task_prefix(task), task_index(task)) == (prefix, index)


@pytest.mark.parametrize("name", ["web", "web-", "web-x", "web-١", "web-1.5", ""])
def test_an_id_that_is_not_of_our_making_has_no_index(name: str) -> None:
    assert task_index(name) == -1


# --- fields that are not known ----------------------------------------------------------------------


def test_unknown_fields_are_named_with_their_path() -> None:
    raw = json.loads(WEB)
    raw["Scale"] = 1
    raw["resources"]["memory"] = 1
    raw["health_checks"].append({"path": "/"})
    raw["env"]["ANYTHING"] = "is a key of the user's"
    assert unknown_fields(raw) == ["health_checks[1].path", "resources.memory", "Scale"]
    assert unknown_fields({"command": {"cmd": 1}, "grace": None}) == ["command.cmd"]


def test_unknown_fields_do_not_change_what_is_read() -> None:
    assert read(WEB[:-1] + ',"tomorrow":{"x":[1]}}').hash() == "web-ec609ab"


def test_a_config_differs_in_one_character_and_the_hash_differs() -> None:
    one, other = job_config(env={"A": "1"}), job_config(env={"A": "2"})
    assert one.hash() != other.hash()
