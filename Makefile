# Two commands on a fresh machine with Python 3.11 or newer, make and git: `make run` and `make test`.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: install run test check bench soak docs clean

install: .venv/.installed

# Made anew whenever the dependencies change; the programs are then in .venv/bin.
.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

# The scheduler and one local agent, with three copies of a small HTTP service; Ctrl-C ends it all.
run: install
	@exec $(BIN)/harpoon-scheduler dev --schedule examples/hello.json

# Most of it waits for processes, hosts and timers: so three at a time, even on two cores.
TEST_JOBS ?= 3

test: install
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist worksteal

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# How fast it is, on this machine: docs/performance.md.
bench: install
	$(BIN)/python -m bench

# What is too long for every day: thousands of simulated runs, and of kills in mid-write, and an agent killed
# among 500 tasks, networks that are broken for a minute. It fails, too, when it has checked too little.
soak: install
	$(BIN)/python -m simulation --soak 10000
	HARPOON_KILLS=5000 $(BIN)/python -m pytest tests/actors/test_store_killed.py
	HARPOON_AGENT_TASKS=500 HARPOON_AGENT_KILLS=20 $(BIN)/python -m pytest tests/agent/test_agent_killed_at_random.py
	NETWORK_CUT_SECONDS=60 $(BIN)/python -m pytest --timeout=300 tests/system/test_system_hosts_convention.py

# The parts of docs/ that are made from the code.
docs: install
	$(BIN)/python -m scheduling.diagram > docs/lifecycle.md
	$(BIN)/python -m config.bounds_page > docs/bounds.md

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
