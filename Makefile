# The project's verbs; README and CI use these and nothing else.
#   make demo        a sweep over real digits, its report, and the front as a table (minutes on two cores)
#   make test        the whole test suite
#   make lint        format, lint and types
#   make bench       what we claim, measured here
PYTHON ?= python3.11
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: setup demo test lint bench clean

setup: .venv/.installed

# The stamp makes a second call of any verb go straight to work.
.venv/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/sweep run search_spaces/digits.yaml
	$(BIN)/sweep report results/digits

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/initialisation.py
	$(BIN)/python benchmarks/evaluation.py

clean:
	rm -rf .venv results
