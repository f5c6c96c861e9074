# The project's verbs; README and CI use these and nothing else.
#   make demo        a sweep over real digits, its report, and the front as a table (minutes on two cores)
#   make test        the test suite, without what takes minutes
#   make test-slow   the rest: sweeps killed twenty times, workers killed at random
#   make test-cluster  a real `ray up` of both cluster files: machines in namespaces, losses in mid sweep; needs root
#   make test-slurm  sweeps in a real Slurm of two nodes on this machine; needs root; ONLY=time_limit for one of them
#   make lint        format, lint and types
#   make size        lines of code by package, without blanks, comments and docstrings
#   make golden      what a restructuring may not change, compared with the parent commit to the last digit; REVISION=...
#   make bench       what we claim, measured here; FULL=1 for what takes longer than some minutes, too
#   make compare     our values beside those of multivae 1.0.3, which gets an environment of its own
#   make compare-cost  the cost of training and evaluation beside multivae's
#   make compare-sweep  the demo's sweep by the wall clock, beside Ray Tune, OptunaSearch and multivae
#   make compare-search  the search on recorded trials beside Optuna, and Syne Tune 0.16 and NePS 0.17 in environments of their own
#   make compare-tools  one small sweep with Optuna, with W&B, with Ray Tune and with this project: docs/comparison.md
#   make study      the methods side by side on real digits, and the pages docs/study.md and docs/weights.md (half an
#                   hour on two cores; the second page from its kept record)
#   make docs        one site of the pages and the Python API, in site/docs/README.html
#   make pictures    the two pictures in docs/, from the demo's report; needs Chromium
#   make examples    the sweeps of examples/, their reports, and the pictures of these; needs Chromium
# The first Python from 3.11 on.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# What was tested together, on 3.11; another file of versions takes its place by CONSTRAINTS=...
CONSTRAINTS ?= constraints.txt
BIN := .venv/bin
PEER := .venv-multivae/bin/python
TOOLS := .venv-tools/bin/python
SYNETUNE := .venv-synetune/bin/python
NEPS := .venv-neps/bin/python
SCENARIOS := local aws
SHELL := /bin/bash

.PHONY: setup demo test test-slow test-cluster test-slurm size golden lint bench compare compare-cost compare-sweep compare-search compare-tools study docs pictures examples clean

setup: .venv/.installed

# The stamp makes a second call of any verb go straight to work.
.venv/.installed: pyproject.toml $(CONSTRAINTS)
	@test -n '$(PYTHON)' || { echo 'make: no Python from 3.11 on is found; name one by PYTHON=...' >&2; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	touch $@

demo: setup
	$(BIN)/sweep run search_spaces/digits.yaml
	$(BIN)/sweep report results/digits

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow"

test-slow: setup
	$(BIN)/python -m pytest -m slow

test-cluster: setup
	tests/cluster/run $(BIN)/python $(SCENARIOS)

test-slurm: setup
	tests/slurm/run $(BIN)/python $(if $(ONLY),-k $(ONLY))

size: setup
	$(BIN)/python tests/size.py

REVISION := HEAD^

golden: setup
	$(BIN)/python tests/golden/compare.py $(REVISION)

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python benchmarks/step.py
	$(BIN)/python benchmarks/banks.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/store.py
	$(BIN)/python benchmarks/side_by_side.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/driver.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/losses.py --seeds 3
ifdef FULL
	$(BIN)/python benchmarks/modalities.py
	$(BIN)/python benchmarks/initialisation.py
	$(BIN)/python benchmarks/precision.py
endif

compare: .venv-multivae/.installed
	$(PEER) benchmarks/peer/agreement.py
	$(PEER) benchmarks/peer/estimators.py

compare-cost: .venv-multivae/.installed
	$(PEER) benchmarks/peer/step.py
	$(PEER) benchmarks/peer/cost.py

compare-sweep: setup .venv-multivae/.installed
	$(BIN)/python benchmarks/peer/end_to_end.py --peer $(PEER)

compare-tools: setup .venv-tools/.installed
	$(BIN)/python benchmarks/peer/tools/lines.py
	mkdir -p results/tools && cp benchmarks/peer/tools/*.* results/tools
	cd results/tools && PATH="$(CURDIR)/$(BIN):$$PATH" && ../../$(TOOLS) make_halves.py && \
	  for program in with_wandb with_ray; do ../../$(TOOLS) $$program.py 2>&1 | tail -n 3; done && \
	  source with_sweep.sh

study: setup
	$(BIN)/sweep run search_spaces/digits_methods.yaml
	$(BIN)/python docs/make_study.py results/digits_methods
	$(BIN)/python docs/make_weights.py

docs: .venv/.docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -c docs -b html . site

.venv/.docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[docs]'
	touch $@

CHROMIUM = chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync \
  --disable-background-networking --disable-component-update --user-data-dir=$$(mktemp -d) \
  --hide-scrollbars --virtual-time-budget=4000

# A colour scheme is 0 for dark and 1 for light in Blink's settings.
pictures: setup
	for scheme in 0:dark 1:light; do \
	  $(CHROMIUM) --window-size=1200,1560 \
	    --blink-settings=preferredColorScheme=$${scheme%:*} --screenshot=docs/report-$${scheme#*:}.png \
	    "file://$(CURDIR)/results/digits/report/report.html"; \
	done

# The pictures get 256 colours, which makes them small.
examples: setup
	for name in digits images tables text_image cluster; do \
	  ( set -e; cd examples/$$name; PATH="$(CURDIR)/$(BIN):$$PATH"; \
	    for script in make_*.py; do test ! -f $$script || python $$script; done; \
	    sweep run $$name.yaml; sweep report results/$$name; \
	    $(CHROMIUM) --window-size=1000,1100 --blink-settings=preferredColorScheme=1 --screenshot=report.png \
	      "file://$$PWD/results/$$name/report/report.html"; \
	    python -c "from PIL import Image; Image.open('report.png').convert('RGB').quantize(256).save('report.png', optimize=True)" \
	  ) || exit; \
	done

compare-search: setup .venv-synetune/.installed .venv-neps/.installed
	$(BIN)/python benchmarks/search.py --full --synetune $(SYNETUNE) --neps $(NEPS)
	$(BIN)/python benchmarks/together.py

.venv-synetune/.installed: constraints.txt
	test -x $(SYNETUNE) || $(PYTHON) -m venv .venv-synetune
	$(SYNETUNE) -m pip install --quiet --disable-pip-version-check -c constraints.txt syne-tune==0.16.0 polars moocore
	touch $@

.venv-neps/.installed:
	test -x $(NEPS) || $(PYTHON) -m venv .venv-neps
	$(NEPS) -m pip install --quiet --disable-pip-version-check neural-pipeline-search==0.17.0 polars moocore
	touch $@

# Of the project's own dependencies only those that mopoe's models need, and those of a sweep written with the peers.
.venv-multivae/.installed: constraints.txt
	test -x $(PEER) || $(PYTHON) -m venv .venv-multivae
	$(PEER) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision safetensors filelock lazy-loader pydantic 'ray[tune]' optuna multivae==1.0.3
	$(PEER) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

# with_wandb.py is with_optuna.py with a log.
.venv-tools/.installed: constraints.txt
	test -x $(TOOLS) || $(PYTHON) -m venv .venv-tools
	$(TOOLS) -m pip install --quiet --disable-pip-version-check -c constraints.txt torch torchvision filelock lazy-loader pydantic 'ray[tune]' optuna optuna-dashboard==0.21.0 wandb==0.31.0 multivae==1.0.3
	$(TOOLS) -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf .venv .venv-multivae .venv-tools .venv-synetune .venv-neps results site
