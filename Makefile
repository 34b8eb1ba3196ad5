# The same short commands for local use and for CI. `make help` lists them.
SHELL := /bin/bash
PYTHON ?= python3
TAGS ?= @smoke
BEHAVE_ARGS ?=
BIN := .venv/bin

.PHONY: help setup acceptance test slow prove check bench report up down clean lock

help: ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1|/' | column -t -s '|'

setup: .venv/.ready ## create .venv with the versions pinned in the lock file

.venv/.ready: requirements.lock pyproject.toml
	@echo "setting up .venv (about a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, such as PYTHON=python3.12 make setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

acceptance: setup ## run the acceptance suite and its report: TAGS=@peak make acceptance
	@code=0; $(BIN)/behave -t "$(TAGS)" $(BEHAVE_ARGS) || code=$$?; \
	$(BIN)/loadkit report || true; \
	exit $$code

# The files go to the workers in the order of their names. Sorted by their number of tests, those with few long
# tests would come last, one after the other.
test: setup ## run the suite's own tests: first in parallel those without load, then the others in sequence
	$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder -m "not (prove or load or slow)"
	$(BIN)/python -m pytest -q -m "load and not (prove or slow)"

slow: setup ## run the tests that take long: known answers, sessions, local environments, faults under load
	$(BIN)/python -m pytest -q -n 4 --dist loadfile --no-loadscope-reorder -m "slow and not load"
	$(BIN)/python -m pytest -q -m "slow and load"

prove: setup ## run the long tests of the method
	$(BIN)/python -m pytest -q -m prove

check: setup ## check format, lint, types and import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

bench: setup ## compare the speed with other load generators
	$(BIN)/python -m tests.bench
	$(BIN)/python -m tests.bench.evidence

report: setup ## generate the Allure report of the last results: reports/allure/index.html
	$(BIN)/loadkit report

up: setup ## start the local environment; it stays up between runs
	$(BIN)/loadkit env up local

down: setup ## stop the local environment
	$(BIN)/loadkit env down local

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate \
		--all-extras pyproject.toml --output-file requirements.lock

clean: ## remove all files that the commands above created
	-@test ! -x $(BIN)/loadkit || $(BIN)/loadkit env down local
	rm -rf .venv .cache reports .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
