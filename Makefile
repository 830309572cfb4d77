# Every target makes what it needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PYTHONHASHSEED ?= $(shell $(PYTHON) -c "import random; print(random.randrange(1000))")

.DEFAULT_GOAL := help
.PHONY: help quickstart test check prove bench real clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

quickstart: $(VENV)/demo  ## fine-tune a real model on real text, in about a minute
	$(BIN)/finetune run deployments/presets/quickstart.yaml

test: $(VENV)/dev check prove  ## everything: lint, types, contracts, tests and proofs

check: $(VENV)/dev  ## lint, types, import contracts and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-cache
	$(BIN)/pytest -m "not slow" -n 2

prove: $(VENV)/dev  ## the slow proofs: kill, race, same bits, README
	$(BIN)/pytest -m slow -n 2

bench: $(VENV)/dev  ## measure: overhead against plain Hugging Face code
	$(BIN)/python tests/benchmarks/overhead.py
	$(BIN)/python tests/benchmarks/data.py

real: $(VENV)/dev  ## a real run of each task, as a table (FINETUNE_TEST_DATA says where the sets are)
	$(BIN)/python tests/real/table.py

clean:  ## remove the environment and what runs left here
	rm -rf $(VENV) runs build *.egg-info

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/dev: $(VENV)/bin/python pyproject.toml constraints.txt
	$(INSTALL) --editable '.[demo,dev]'
	@touch $@ $(VENV)/demo
