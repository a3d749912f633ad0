# Everything runs in .venv, from the locked dependencies. `make help` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Only from the lock files: names, versions and hashes.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r

.PHONY: help run test test-kafka check chaos format bench lock clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(VENV)/.installed ## set up, then start both directions (the sandbox too when there are no credentials)
	$(BIN)/bridge run

test: $(VENV)/.installed-dev ## every test that needs no extra server
	$(BIN)/python -m pytest -q -rs -n 2 --dist loadfile

check: $(VENV)/.installed-dev ## what CI runs: format, lint, types, tests with branch coverage
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -rs -n 2 --dist loadfile
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

test-kafka: $(VENV)/.installed-dev ## the tests that need a real Kafka broker (Java, and Maven to fetch it)
	$(BIN)/python -m pytest -q -s -m kafka -rs

format: $(VENV)/.installed-dev ## let ruff put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

chaos: $(VENV)/.installed-dev ## 200 rounds of SIGKILL under load (CHAOS_ROUNDS=N changes that)
	$(BIN)/python -m pytest -q -s -m chaos

bench: $(VENV)/.installed-dev ## print the figures of this machine; no test fails on a time
	$(BIN)/python -m tests.benchmarks

lock: $(VENV)/.installed-dev ## resolve the dependencies anew into the two lock files
	$(BIN)/uv pip compile pyproject.toml --group build --universal --generate-hashes \
		--no-annotate --no-header -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --group build --group dev --all-extras --universal --generate-hashes \
		--no-annotate --no-header -o requirements-dev.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .coverage*

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "The bridge needs Python 3.11 or newer; point PYTHON= at one." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/bin/python
	$(INSTALL) requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(INSTALL) requirements-dev.lock
	@touch $@
