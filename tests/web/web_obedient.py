"""Clusters whose agents obey, with a clock that the test moves; and configs to migrate between."""

from __future__ import annotations

from typing import Any

from falcon.testing import TestClient
from web_cases import raw

from scheduling.job import ContainerConfig
from web.app import create_app
from web.obedient import ObedientCluster

URL = "/api/v1/jobs/p/e/min"
MIGRATIONS = "/api/v1/migrations"
V0_MIGRATE = "/api/v0/migrate"
BEGUN_AT = 1_000_000.0


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = BEGUN_AT

    def __call__(self) -> float:
        return self.now


class Town(ObedientCluster):
    """Two agents that obey; what has FAIL in its env ends at once."""

    def __init__(self) -> None:
        self.moving = Clock()
        super().__init__("n1", "n2", clock=self.moving, fails=_fails)
        self.client = TestClient(create_app(self))

    def go(self, rounds: int = 1, seconds: float = 1.0) -> None:
        """So many rounds of the rule, so far apart."""
        for _ in range(rounds):
            self.moving.now += seconds
            self.turn()

    def settle(self) -> None:
        """Rounds until nothing has moved for longer than a task takes to be good, or to be tried again."""
        calm = 0
        for _ in range(500):
            self.moving.now += 1.0
            calm = 0 if self.turn() else calm + 1
            if calm > 12:
                return
        raise AssertionError("it does not settle")

    def job(self) -> dict[str, Any]:
        """The job of all these tests."""
        shown: dict[str, Any] = self.client.simulate_get(URL).json
        return shown

    def migration(self) -> dict[str, Any]:
        """Its last migration."""
        found: dict[str, Any] = self.job()["migration"]
        return found

    def tasks(self) -> dict[str, str]:
        """Its tasks and how they are."""
        return {task["id"]: task["status"] for task in self.job()["tasks"]}


def _fails(config: ContainerConfig) -> bool:
    return "FAIL" in (config.env or {})


def body(greeting: str = "one", env: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
    """The example with three tasks, in the version that a greeting names."""
    wanted = {"scale": 3, "restart": "on-failure", "resources": SMALL, **changes}
    return raw(env={"GREETING": greeting, **(env or {})}, **wanted)


SMALL = {"mem": 16, "cpu": 0.1, "fd": 0}


def town(**changes: Any) -> Town:
    """The job in its first version, running."""
    made = Town()
    assert made.client.simulate_put(URL, json=body(**changes)).status_code == 201
    made.settle()
    assert set(made.tasks().values()) == {"running"}
    return made
