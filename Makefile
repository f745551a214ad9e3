# The commands of this repository; `make` alone lists them. Needs Python 3.11 or newer, and nothing else.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
ROOMS := server methods delivery storage emulators tests

.DEFAULT_GOAL := help
.PHONY: help install develop run test check lint type bench chaos browser hosts fuzz demo docs schema lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/installed ## run the whole server (tocsin serve)
	@$(BIN)/tocsin serve

install: $(VENV)/installed ## make .venv with what the server needs, and .venv/bin/tocsin

develop: $(VENV)/developed ## make .venv with what tests and checks need, too

test: $(VENV)/developed ## run the tests
	@$(BIN)/python -m pytest

check: lint type ## everything but the tests: lint, types, imports, generated files
	@$(BIN)/python -m server.settings_reference --check
	@$(BIN)/python -m server.reference --check
	@$(BIN)/python -m server.schema_dump --check

lint: $(VENV)/developed ## check style, format and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

type: $(VENV)/developed ## check types (mypy --strict)
	@$(BIN)/mypy

bench: $(VENV)/developed ## measure against named baselines
	@$(BIN)/python -m tests.bench

chaos: $(VENV)/developed ## kill processes and inject faults during sends, and count
	@$(BIN)/python -m tests.chaos

browser: $(VENV)/developed ## Web Push in a headless Chromium, which decrypts what we send
	@$(BIN)/python -m tests.browser

hosts: $(VENV)/developed ## several hosts of one queue: cut off, killed, paused, upgraded
	@$(BIN)/python -m tests.hosts

fuzz: $(VENV)/developed ## throw generated requests at the door
	@$(BIN)/python -m tests.server.fuzz

demo: $(VENV)/installed ## a server for a minute, two devices, one push, and what arrived
	@$(BIN)/python -m server.demo

docs: $(VENV)/developed ## write the generated parts of README.md and docs/
	@$(BIN)/python -m server.settings_reference
	@$(BIN)/python -m server.reference

schema: $(VENV)/developed ## write sql/schema.sql
	@$(BIN)/python -m server.schema_dump

lock: $(VENV)/developed ## pin all dependencies with hashes
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-strip-markers --no-header pyproject.toml -o requirements.txt
	@$(BIN)/uv pip compile -q --generate-hashes --no-emit-index-url --no-strip-markers --no-header --extra dev pyproject.toml -o requirements-dev.txt

clean: ## remove everything that was made, but the data
	@rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The project is not installed but run in place: the environment knows where it is, and has a program that starts it.
$(BIN)/tocsin: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "$(CURDIR)" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/tocsin.pth"
	@printf '#!/bin/sh\nexec "%s" -P -m server.cli "$$@"\n' "$(CURDIR)/$(BIN)/python" > $@
	@chmod +x $@

$(VENV)/installed: requirements.txt $(BIN)/tocsin
	@echo "installing what requirements.txt pins, once"
	@$(PIP) --require-hashes -r requirements.txt
	@touch $@

$(VENV)/developed: requirements-dev.txt $(BIN)/tocsin
	@echo "installing what requirements-dev.txt pins, once"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@ $(VENV)/installed
