"""The registry takes so many versions of jobs, and another one when there is room again."""

from __future__ import annotations

import pytest
from rules_made import job_config

from scheduling import jobs
from scheduling.answer import Answer
from scheduling.desired import Desired
from scheduling.jobs import ScheduleJob, UnscheduleJob
from scheduling.registry import Mutation, judge


def test_one_version_too_many_is_refused_until_another_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_VERSIONS", 2)
    desired = Desired()
    version = 0

    def ask(mutation: Mutation) -> Answer:
        nonlocal version
        version += 1
        answer, changes = judge(desired, mutation, version)
        desired.apply(changes)
        return answer

    names = [ask(ScheduleJob(config=job_config(name))).hash for name in ("a", "b")]
    refused = ask(ScheduleJob(config=job_config("c")))
    assert (refused.result, len(desired.jobs)) == ("conflict", 2)
    assert refused.message == "there are 2 versions of jobs, as many as there may be; unschedule some first"
    assert ask(UnscheduleJob(hash=names[0])).accepted
    assert ask(ScheduleJob(config=job_config("c"))).result == "created"
