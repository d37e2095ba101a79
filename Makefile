# `make auto` and `make test` set up all they need; everything else assumes nothing either.
SHELL := /bin/bash
VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
TESTS ?= tests

.PHONY: auto test lint fmt perf soak docs-check dev clean
.DELETE_ON_ERROR:

auto: $(STAMP)
	@$(VENV)/bin/deploy auto --fallback starter
	@$(VENV)/bin/deploy env

test: $(DEV_STAMP)
	@scripts/test-tools
	$(PYTHON) -m pytest $(TESTS) -m "alone and not soak" || [ $$? -eq 5 ]
	$(PYTHON) -m pytest $(TESTS) -m "not alone and not soak" -n 2 || [ $$? -eq 5 ]

soak: $(DEV_STAMP)
	@scripts/test-tools
	$(PYTHON) -m pytest $(TESTS) -m soak

perf: $(DEV_STAMP)
	$(PYTHON) scripts/perf.py
	$(PYTHON) scripts/perf_bench.py
	$(PYTHON) scripts/perf_transfer.py
	$(PYTHON) scripts/perf_pull.py
	$(PYTHON) scripts/perf_bundle.py

lint: $(DEV_STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/codespell
	$(PYTHON) scripts/generate_catalog.py --check
	$(PYTHON) scripts/calibrate_speed.py --check
	$(PYTHON) scripts/card_table.py --check
	$(PYTHON) docs/generate_claims.py --check

fmt: $(DEV_STAMP)
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs-check: $(DEV_STAMP)
	$(PYTHON) -m pytest tests/docs

dev: $(DEV_STAMP)

$(STAMP): pyproject.toml
	@scripts/bootstrap $(VENV)
	@touch $@

$(DEV_STAMP): pyproject.toml
	@scripts/bootstrap $(VENV) dev
	@touch $@ $(STAMP)

clean:
	rm -rf $(VENV) .cache build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
