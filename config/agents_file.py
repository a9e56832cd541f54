"""The agents file: one agent a line, `[NAME] HOST:PORT|URL [KEY=VALUE …]`, with # comments."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from config.bounds import LARGEST_AGENTS_FILE_BYTES, MOST_AGENTS
from scheduling.desired import parse_endpoint
from scheduling.registry import AgentSpec

# The agent that `dev` runs itself: another port each time, and the same data directory.
OWN_AGENT = "dev"


class AgentsFileError(ValueError):
    """The file can't be read or has a wrong line; the text says which, and what would be right."""


def spec(text: str) -> AgentSpec:
    """An agent as `[NAME=]HOST:PORT|URL`; without a name it is called HOST:PORT. Raises ValueError."""
    name, equals, address = text.rpartition("=")
    endpoint = parse_endpoint(address)
    if equals and (not name or "/" in name or not name.isprintable()):
        raise ValueError(f"{name!r} is no agent name; it must be printable, not empty, and without '/'")
    return AgentSpec(name=name or endpoint.removeprefix("http://"), endpoint=endpoint)


class Names:
    """Agents by name and by endpoint: each name one agent, and each agent one name.

    Under two names the containers of one agent would look like two copies of each task.
    """

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._owners: dict[str, str] = {}

    def add(self, agent: AgentSpec) -> AgentSpec:
        """The same agent. Raises ValueError if its name or its endpoint is another's."""
        if agent.name in self._names:
            raise ValueError(f'the agent "{agent.name}" is there twice; a name is one agent')
        owner = self._owners.setdefault(agent.endpoint, agent.name)
        if owner != agent.name:
            raise ValueError(f'"{agent.name}" and "{owner}" are both {agent.endpoint}; an agent has one name')
        self._names.add(agent.name)
        return agent

    def add_all(self, agents: Iterable[AgentSpec]) -> tuple[AgentSpec, ...]:
        """All of them. Raises ValueError as `add`."""
        return tuple(self.add(agent) for agent in agents)


def read_agents_file(path: Path) -> tuple[AgentSpec, ...]:
    """The agents in the file. Raises AgentsFileError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_AGENTS_FILE_BYTES + 1)
        lines = content.decode("utf-8").splitlines()
    except OSError as error:
        raise AgentsFileError(f"the agents file {path} can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise AgentsFileError(f"the agents file {path} is not UTF-8: {error}") from None
    if len(content) > LARGEST_AGENTS_FILE_BYTES:
        text = f"has more than {LARGEST_AGENTS_FILE_BYTES} bytes; {MOST_AGENTS} agents fit in fewer"
        raise AgentsFileError(f"the agents file {path} {text}")
    agents: list[AgentSpec] = []
    names = Names()
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            agents.append(names.add(_parse(words)))
        except ValueError as error:
            raise AgentsFileError(f"{path}, line {number}: {error}") from None
    if len(agents) > MOST_AGENTS:
        raise AgentsFileError(f"{path} has {len(agents)} agents; at most {MOST_AGENTS} are possible")
    return tuple(agents)


def _parse(words: list[str]) -> AgentSpec:
    plain = [word for word in words if "=" not in word]
    if not 1 <= len(plain) <= 2 or words[: len(plain)] != plain:
        raise ValueError(f'"{" ".join(words)}" is no agent; write [NAME] HOST:PORT [KEY=VALUE …]')
    labels = dict(word.split("=", 1) for word in words[len(plain) :])
    address = spec("=".join(plain))
    return AgentSpec(name=address.name, endpoint=address.endpoint, labels=labels)
