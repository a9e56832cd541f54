"""What is said of an agent that is away: what its tasks wait for, and whether the brake holds it."""

from __future__ import annotations

from datetime import UTC, datetime

from scheduling.actual import AgentStatus
from scheduling.desired import Agent
from scheduling.lost import Brake, count_away, is_connected
from web import limits
from web.cluster import ClusterState
from web.shapes import BrakeView


def clock_text(at: float) -> str:
    """A time in seconds since 1970 as people read it."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def why(agent: Agent | None, status: AgentStatus | None, brake: Brake | None) -> str:
    """What becomes of the tasks of an agent that is away or lost; empty for one that is well."""
    connected = status is not None and status.link == "connected" and status.answered
    if agent is None:
        return ""
    if agent.lost_since is not None:
        if connected:
            return "it is back; which of its tasks stay here is being settled"
        if agent.declared_lost:
            return "its operator has declared it lost; its tasks are placed elsewhere"
        return "it is lost; its tasks are placed elsewhere, those of a job with a longer on_lost later"
    if connected:
        return ""
    if agent.declared_lost:
        return "its operator has declared it lost; that is being written down"
    if brake is not None:
        until = clock_text(brake.until)
        return f"its tasks wait for it; too many agents are away, so the brake holds until {until}"
    return "its tasks wait for it, until it is back or has been away for longer than is tolerated"


def brake_view(state: ClusterState) -> BrakeView:
    """The brake as GET /brake shows it."""
    away, agents = count_away(state.desired, state.actual)
    released = state.desired.brake_release is not None
    brake = state.brake
    counted = f"{away} of {agents} agents are away"
    if brake is not None and not released:
        message = (
            f"{counted}; none is declared lost until {clock_text(brake.until)}, or the brake is released"
        )
    elif released:
        message = f"{counted}; the brake is released, so those away for longer than is tolerated are lost"
    else:
        message = f"{counted}; the brake does not hold"
    return BrakeView(
        holds=brake is not None and not released,
        released=released,
        since=brake.since if brake else None,
        until=brake.until if brake else None,
        away=away,
        agents=agents,
        waiting=held_agents(state)[: limits.MOST_HELD_SHOWN],
        message=message,
    )


def held_agents(state: ClusterState) -> list[str]:
    """Who is away and not lost: the agents that a release may declare lost."""
    return sorted(
        name
        for name, agent in state.desired.agents.items()
        if agent.lost_since is None and not is_connected(state.actual, name)
    )
