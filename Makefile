# `make` alone lists the targets. Everything runs in .venv, which `install` makes and keeps up to date.

PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/pytest

# What smdebug needs cannot be imported by newer ones; older ones extract archives without a filter.
define REFUSE_OTHER_PYTHONS
import sys
if not (3, 11, 4) <= sys.version_info < (3, 13):
    sys.exit("Python 3.12, or 3.11 from 3.11.4 on, is needed, and %s is %d.%d.%d. "
             "Name one: make clean install PYTHON=python3.12" % ((sys.executable,) + sys.version_info[:3]))
endef
export REFUSE_OTHER_PYTHONS

.DEFAULT_GOAL := help
.PHONY: help install browser pipeline review test drill check format lock bench up down clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: .venv/installed ## Make .venv and install the locked dependencies

.venv/installed: requirements.lock
	@if test -x $(BIN)/python; then $(BIN)/python -c "$$REFUSE_OTHER_PYTHONS"; \
	else $(PYTHON) -c "$$REFUSE_OTHER_PYTHONS" && $(PYTHON) -m venv .venv; fi
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python requirements.lock
	@touch $@

browser: ## Install chromium, for the tests of pages (Debian, as root)
	@command -v chromium >/dev/null || (apt-get update -qq && apt-get install -qq --yes --no-install-recommends chromium)

pipeline: install ## Run the full pipeline on rendered photos, in the embedded cloud
	$(BIN)/python -m flows.full_pipeline

review: install ## Count by eye, in a browser, what the last nights flagged
	$(BIN)/python -m flows.review

# More processes than two cores, as many a test waits for a server or a job.
test: check ## Check, then run the tests
	$(PYTEST) -n 3 --no-loadscope-reorder

drill: install ## Kill pipelines ten times and nights in each step, run one against a failing cloud, time one
	$(PYTEST) -m drill

check: install ## Format, lint, types, and which room may import which
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## Put the code into the project's format, and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: install ## Renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --upgrade --python-version 3.11.4 --no-header --no-emit-index-url --all-extras pyproject.toml -o requirements.lock

bench: install ## Measure speed and memory
	$(BIN)/python -m benchmarks

up: install ## Start Prefect's server and the embedded cloud, and keep them
	$(BIN)/python -m tasks.services up

down: install ## Stop them
	$(BIN)/python -m tasks.services down

clean: ## Remove caches and the environment; the home folder (.binventory) stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
