# fedpriv: `make run` sets everything up and runs the main job; `make help` lists the rest.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help setup run test test-slow test-all lint format bench lock clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the versions of requirements.lock

# --constraint pins every package, so that two fresh machines get the same versions.
$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "fedpriv needs Python 3.11 or newer; set PYTHON=..., e.g. make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

run: setup  ## the main job: federated gaze, private and encrypted, on embedded data
	$(BIN)/python -m experiments.run +experiment=quickstart

test: setup  ## tests, without the slow ones
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-slow: setup  ## the slow tests alone
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

test-all: setup  ## all tests, the slow ones first
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: setup  ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup  ## speed: ours and the peers', one JSON object each
	$(BIN)/fedpriv bench engine --json

lock: setup  ## write requirements.lock from what is installed now
	{ echo "# Exact versions that make installs, as pip constraints. Remade with: make lock"; \
	  $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' | LC_ALL=C sort -f; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:  ## remove the virtual environment and caches
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
