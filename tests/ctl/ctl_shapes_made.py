"""Jobs, tasks and agents as /api/v1 answers them, for tests."""

from __future__ import annotations

from typing import Any

HASH = "hello-0a1b2c3"
KEY = "examples/dev/hello"
CONFIG = {
    "scale": 2,
    "product": "examples",
    "environment": "dev",
    "job": "hello",
    "command": {"working_dir": "/", "exec": ["true"]},
    "resources": {"mem": 32, "cpu": 0.1, "fd": 0},
    "restart": "on-failure",
}


def job(
    name: str = HASH, *, key: str = KEY, waiting: dict[str, Any] | None = None, **config: Any
) -> dict[str, Any]:
    """A job with one version."""
    product, environment, short = key.split("/")
    counts = {"wanted": 2, "running": 1, "waiting": 1}
    version = {
        "hash": name,
        "prefix": name,
        "version": 7,
        "config": {**CONFIG, "product": product, "environment": environment, "job": short, **config},
        "counts": counts,
        "waiting": waiting,
    }
    return {
        "product": product,
        "environment": environment,
        "job": short,
        "key": key,
        "version": 7,
        "versions": [version],
        "counts": counts,
    }


def task(index: int, status: str = "running", *, name: str = HASH, **fields: Any) -> dict[str, Any]:
    """A task of it."""
    placed = status != "waiting"
    return {
        "id": f"{name}-{index}",
        "job": KEY,
        "hash": name,
        "status": status,
        "intent": "run",
        "agent": f"n{index}" if placed else None,
        "endpoint": f"http://10.0.0.{index}:3333" if placed else None,
        "ports": {"HTTP": 30000 + index} if status == "running" else {},
        "exit": None,
        "error": "",
        "restarts": 0,
        "next_start_at": None,
        "stale": False,
        "foreign": False,
        "other_copies": [],
        **fields,
    }


def agent(name: str = "n0", **fields: Any) -> dict[str, Any]:
    """An agent."""
    return {
        "name": name,
        "endpoint": "http://10.0.0.0:3333",
        "link": "connected",
        "answered": True,
        "since": 1700000000.0,
        "error": "",
        "labels": {},
        "drained": False,
        "lost_since": None,
        "leaving": False,
        "resources": {
            "mem": {"total": 2048, "reserved": 96},
            "cpus": {"total": 4, "reserved": 0.3},
            "storage": {"total": 10, "reserved": 0},
            "volumes": None,
        },
        "tasks": 3,
        "foreign": 0,
        **fields,
    }


def snapshot(*things: dict[str, Any]) -> dict[str, Any]:
    """A snapshot of what `job`, `task` and `agent` made."""
    return {
        "jobs": [thing for thing in things if "versions" in thing],
        "tasks": [thing for thing in things if "status" in thing],
        "agents": [thing for thing in things if "link" in thing],
    }


WAITING = {
    "tasks": 1,
    "reason": "no agent has room",
    "agents": 9,
    "refusals": [
        {"agent": "n7", "reason": "short 128 MB"},
        {"agent": "n3", "reason": "short 0.2 cores"},
        {"agent": "n4", "reason": "short 512 MB"},
        {"agent": "n5", "reason": "short 640 MB"},
    ],
}
