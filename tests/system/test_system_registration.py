"""Agents that announce themselves to a real scheduler: they are used, survive restarts of both, and leave."""

from __future__ import annotations

from pathlib import Path

from system_harness import Scheduler, agent, job, run_to_end, running, wait_until


def _connected(scheduler: Scheduler, name: str) -> bool:
    shown = scheduler.get(f"/api/v1/agents/{name}")
    return shown.status_code == 200 and shown.json()["connected"]


def _flags(url: str, token: Path, name: str) -> list[str]:
    return ["--register", url, "--register-token-file", str(token), "--name", name]


def test_an_agent_registers_and_is_known_after_restarts(tmp_path: Path) -> None:
    home, starts = tmp_path / "scheduler", tmp_path / "starts"
    home.mkdir()
    made = run_to_end(["actors.main", "register-token", "--data", "data"], home)
    assert made.returncode == 0, made.stderr
    token = Path(made.stdout.strip())
    assert token.stat().st_mode & 0o777 == 0o600
    with (
        running(["serve", "--data", "data"], home) as scheduler,
        agent(tmp_path / "a", *_flags(scheduler.url, token, "h1")) as first,
    ):
        wait_until(lambda: _connected(scheduler, "h1"), "it is connected")
        scheduler.schedule(job("calm", 1, starts=starts))
        scheduler.wait_running("calm", 1)
        assert first.end()[0] == 0
        shown = scheduler.get("/api/v1/agents/h1").json()
        assert (shown["sources"], shown["tasks"]) == (["registered"], 1), "with a task it stays known"
        assert token.read_text().strip() not in scheduler.said
        scheduler.end()
        with running(["serve", "--data", "data"], home) as again:
            assert again.get("/api/v1/agents/h1").json()["sources"] == ["registered"], "after a restart, too"
            with agent(tmp_path / "a", *_flags(again.url, token, "h1")) as second:
                wait_until(lambda: _connected(again, "h1"), "at another address, with its task")
                again.wait_running("calm", 1)
                assert second.address != first.address
                assert starts.read_text().split() == ["calm"], "which was never started again"


def test_without_tasks_it_leaves_when_it_ends(tmp_path: Path) -> None:
    home = tmp_path / "scheduler"
    home.mkdir()
    token = Path(run_to_end(["actors.main", "register-token", "--data", "data"], home).stdout.strip())
    with (
        running(["serve", "--data", "data"], home) as scheduler,
        agent(tmp_path / "a", *_flags(scheduler.url, token, "h1")) as program,
    ):
        wait_until(lambda: _connected(scheduler, "h1"), "it is connected")
        assert program.end()[0] == 0
        wait_until(lambda: scheduler.get("/api/v1/agents/h1").status_code == 404, "it is gone")


def test_who_has_no_token_is_not_taken(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("w" * 64)
    wrong.chmod(0o600)
    with (
        running(["serve"], tmp_path / "scheduler") as scheduler,
        agent(tmp_path / "a", *_flags(scheduler.url, wrong, "h1")) as program,
    ):
        wait_until(lambda: "403: no agent may register here" in program.said, "it is told why")
        assert scheduler.get("/api/v1/agents").json()["agents"] == []
