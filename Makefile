# The project's verbs; README and CI use these and nothing else.
#   make demo        a sweep over real digits, its report, and the front as a table (minutes on two cores)
#   make test        the test suite, without what takes minutes
#   make test-slow   the rest: sweeps killed twenty times, workers killed at random
#   make test-cluster  a real `ray up` of both cluster files: machines in namespaces, losses in mid sweep; needs root
#   make lint        format, lint and types
#   make bench       what we claim, measured here
#   make compare     our values beside those of multivae 1.0.3, which gets an environment of its own
#   make compare-cost  the cost of evaluation beside multivae's
PYTHON ?= python3.11
BIN := .venv/bin
PEER := .venv-multivae/bin/python
SCENARIOS := local aws
SHELL := /bin/bash

.PHONY: setup demo test test-slow test-cluster lint bench compare compare-cost clean

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
	$(BIN)/python -m pytest -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-cluster: setup
	tests/cluster/run $(BIN)/python $(SCENARIOS)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/initialisation.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/scaling.py

compare: .venv-multivae/.installed
	$(PEER) benchmarks/peer/agreement.py
	$(PEER) benchmarks/peer/estimators.py

compare-cost: .venv-multivae/.installed
	$(PEER) benchmarks/peer/cost.py

# Of the project's own dependencies only those that mopoe's models need.
.venv-multivae/.installed: constraints.txt
	test -x $(PEER) || $(PYTHON) -m venv .venv-multivae
	$(PEER) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision safetensors filelock multivae==1.0.3
	$(PEER) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf .venv .venv-multivae results
