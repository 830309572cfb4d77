# Every target builds what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Random order, two processes; `make test PYTEST_ADDOPTS=--randomly-seed=N` repeats the order of a run that printed N.
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadgroup
# Without compiling, which halves the time: few of these modules are ever imported, and those are compiled then.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt
# Allow compiling on import: if the environment forbids it, as in many containers, every process would compile again.
export PYTHONDONTWRITEBYTECODE :=
# Waiting threads yield their core: if several processes share the cores, spinning is ten times slower.
export OMP_WAIT_POLICY ?= PASSIVE
export PYTHONHASHSEED ?= $(shell $(PYTHON) -c "import random; print(random.randrange(1000))")

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint check prove environment browser bench real methods clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(VENV)/demo  ## fine-tune a real model on real text, in about a minute
	$(BIN)/finetune run deployments/presets/quickstart.yaml

test: environment lint  ## what CI runs: lint, types, import contracts, the fast tests, one slow test of each kind
	$(PYTEST) -m "not slow or selected"

lint: $(VENV)/dev  ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache

check: lint  ## lint and the fast tests
	$(PYTEST) -m "not slow"

prove: environment  ## all tests; ends with a line for each promise of README.md
	$(PYTEST) --promises

environment:  # the packages and the browser for the tests, installed in parallel
	@$(MAKE) --no-print-directory --jobs 2 $(VENV)/dev browser

browser:  ## install a browser for the tests of the run form (if there is none, and apt is permitted)
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || \
	  { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium; } >/dev/null 2>&1 || \
	  echo "no chromium: the tests of the run form are skipped"

bench: $(VENV)/dev  ## benchmarks of time and memory, as ratios if possible
	$(BIN)/python tests/benchmarks/overhead.py
	$(BIN)/python tests/benchmarks/startup.py
	$(BIN)/python tests/benchmarks/data.py
	$(BIN)/python -m tests.benchmarks.memory
	$(BIN)/python -m tests.benchmarks.quantized
	$(BIN)/python -m tests.benchmarks.labelled
	$(BIN)/python -m tests.benchmarks.trl_sft
	$(BIN)/python -m tests.benchmarks.serving
	$(BIN)/python -m tests.benchmarks.load --runs 50

real: $(VENV)/dev  ## a real run of each task, as a table (FINETUNE_TEST_DATA: folder of the data sets)
	$(BIN)/python tests/real/table.py

methods: $(VENV)/dev  ## what each method of training costs and gives, as a table (an hour; FINETUNE_TEST_DATA)
	$(BIN)/python -m tests.real.methods
	$(BIN)/python -m tests.real.distillation
	$(BIN)/python -m tests.real.continual

clean:  ## remove the environment, runs and build files
	rm -rf $(VENV) runs build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo,dev]'
	@touch $@ $(VENV)/demo
