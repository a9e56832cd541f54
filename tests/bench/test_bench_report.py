"""Tables, ratios and pictures from results that were made up."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec

from bench.members import HostResult, MembersResult
from bench.plot import plot
from bench.quick import judge
from bench.report import compare, new_report, read_report, text, write_report
from bench.sizes import SizeResult, Way
from bench.usage import Memory, spent


def _way(seconds: float, floor: float, scheduler_us: float = 1000.0) -> Way:
    return Way(
        seconds=seconds,
        slowest_seconds=seconds,
        agents_seconds=seconds,
        floor_seconds=floor,
        ratio=seconds / floor,
        scheduler_us=scheduler_us,
        floor_us=200.0,
        added_us=scheduler_us - 200.0,
        fleet_us=100.0,
        others=0.1,
        unavailable=0,
        by_kind_us={"flocks": 10.0},
    )


def _size(agents: int, tasks: int, there: Way, back: Way) -> SizeResult:
    return SizeResult(
        agents=agents,
        tasks=tasks,
        runs=5,
        schedule=there,
        unschedule=back,
        start_seconds=1.0,
        memory=Memory(100.0, 300.0, 12),
        pss_by_kind_mb={"flocks": 10.0},
        pss_a_state_machine_mb=5.0,
        fleet_pss_mb=20.0,
        fsync_seconds=0.004,
    )


SMALL = _size(10, 100, _way(0.2, 0.1), _way(0.1, 0.1))
LARGE = _size(100, 1000, _way(2.0, 1.0), _way(1.0, 1.0))


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    report = new_report()
    report.sizes, report.batch = [SMALL, LARGE], [SMALL]
    write_report(report, tmp_path / "run.json")
    assert read_report(tmp_path / "run.json") == report
    assert "Agents that take batches:" in text(report)
    assert "batch, schedule 10 × 100: time / floor" in compare(report, report)[0]
    assert "| 100, 1,000 | 2.000 s | 1.000 s | 2.0 |" in text(report)


def test_each_host_has_a_line_of_what_it_used(tmp_path: Path) -> None:
    report = new_report()
    host = HostResult(
        name="member-1",
        flocks=10,
        agents=500,
        processes=513,
        pss_mb=2789.4,
        connect_cpu_seconds=17.4,
        schedule_us=1652.0,
        unschedule_us=1223.0,
        connect_messages=3457,
        schedule_messages=922,
        unschedule_messages=918,
    )
    report.members = MembersResult(
        members=3,
        agents=2000,
        tasks=1000,
        join_seconds=0.5,
        connect_seconds=32.9,
        schedule_seconds=4.5,
        unschedule_seconds=4.3,
        others=(0.1, 0.1, 0.4),
        most_starts=1,
        fleet_pss_mb=30.0,
        hosts=[host],
    )
    write_report(report, tmp_path / "run.json")
    assert read_report(tmp_path / "run.json") == report
    assert "all connected in 32.9 s, 1,000 tasks run in 4.5 s and are gone in 4.3 s" in text(report)
    assert (
        "| member-1 | 10 | 500 | 513 | 2,789 MB | 17.4 s | 1,652 µs | 1,223 µs | 3,457 | 922 | 918 |"
        in text(report)
    )


def test_a_run_is_compared_by_ratios_and_only_what_got_worse_is_told() -> None:
    then, now = new_report(), new_report()
    then.sizes = [LARGE]
    slower = msgspec.structs.replace(LARGE.schedule, ratio=LARGE.schedule.ratio * 2)
    now.sizes = [SMALL, msgspec.structs.replace(LARGE, schedule=slower)]
    table, worse = compare(now, then)
    assert worse == ["schedule 100 × 1,000: time / floor: 2.00 times what it was"]
    assert "10 × 100" not in table
    assert compare(then, then)[1] == []


def test_the_quick_judgement_goes_by_ratios() -> None:
    report = new_report()
    report.sizes = [SMALL, LARGE]
    assert judge(report) == []
    report.sizes = [_size(10, 100, _way(0.2, 0.1, 100_000.0), _way(0.1, 0.1))]
    assert "500 times the CPU of the floor" in judge(report)[0]
    report.sizes = [SMALL, _size(100, 1000, _way(2.0, 1.0, 4000.0), _way(1.0, 1.0, 4000.0))]
    assert "4.0 times the CPU" in judge(report)[0]


def test_the_picture_has_a_line_for_each_time_and_a_point_for_each_size() -> None:
    root = ET.fromstring(plot([LARGE, SMALL]))
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names.count("polyline") == 4
    assert names.count("circle") == 8
    assert ET.fromstring(plot([SMALL])) is not None


def test_what_was_spent_is_told_largest_first() -> None:
    assert list(spent({"a": 1.0}, {"a": 1.5, "b": 2.0}).items()) == [("b", 2.0), ("a", 0.5)]
