# Everything that a contributor runs. The first target sets up; the others call it when it is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak lint format bench gpu clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(READY) ## make .venv with everything that running and testing needs

# uv installs in a minute what pip takes several for, and compiles bytecode: without it every start is slow.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmsearch needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --editable . --group dev
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m compileall -q mmsearch
	@touch $@

demo: $(READY) ## the main job on drawn postcards with the bundled model: no network, no GPU
	$(BIN)/python scripts/demo.py

# worksteal: each worker begins with a half of the files, so that what a file sets up is seldom set up twice.
test: $(READY) lint ## lint, then the tests: no network, no GPU, no downloads, under 10 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not soak"

soak: $(READY) ## slow trials: kills, faults, a browser, a cluster, the oldest libraries; under 30 minutes on two cores
	$(BIN)/python -m pytest -n 2 --dist worksteal -m soak
	$(BIN)/python scripts/lowest_versions.py

lint: $(READY) ## style, types (of the page's scripts too) and the rule of who imports whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/page_types.py --check

format: $(READY) ## put the code into its format
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: $(READY) ## speed and memory, as ratios against the plain way of doing it
	$(BIN)/python scripts/bench_embed.py
	$(BIN)/python scripts/bench_sync.py
	$(BIN)/python scripts/bench_query.py
	$(BIN)/python scripts/bench_eval.py --plain
	$(BIN)/python scripts/bench_serve.py
	$(BIN)/python scripts/bench_store.py
	$(BIN)/python scripts/bench_ray.py

gpu: $(READY) ## what a GPU has to show, in eight minutes: that all is right on it, then how fast
	$(BIN)/python scripts/gpu_trial.py

clean: ## remove the environment and caches
	rm -rf $(VENV) .lowest .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
