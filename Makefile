# Everything runs in .venv, made on first use from the pinned versions of requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST_FLAGS ?=
GRID ?= workflow/grids/default.yaml
PROFILE ?= local
.DEFAULT_GOAL := help
.PHONY: book single pdf runs test test-cluster lint notebooks lab checkpoints study bench clean help

book: $(STAMP)  ## execute the chapters that changed and build the site in _build/html
	@$(BIN)/python -m workflow.batch workflow/grids/default.yaml

single: book  ## the whole book as one page, _build/html/single.html
	@$(BIN)/python -m workflow.site.export --html-only

pdf: book  ## the same printed with Chromium, _build/book.pdf
	@$(BIN)/python -m workflow.site.export

runs: $(STAMP)  ## run a grid: GRID=workflow/grids/smoke.yaml [DATA=FOLDER] [PROFILE=slurm] [FLAGS=--dry-run]
	@$(BIN)/python -m workflow.batch "$(GRID)" $(if $(DATA),--data "$(DATA)") --profile $(PROFILE) $(FLAGS)

test: $(STAMP) lint  ## lint, the chapters that changed, unit tests, doctests, built pages in a browser
	@$(BIN)/python -m workflow.batch workflow/grids/default.yaml --no-book
	TQDM_DISABLE=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 \
		--dist worksteal $(PYTEST_FLAGS)

test-cluster: $(STAMP)  ## run grids on a pretended SLURM of two nodes, on this machine (needs root, Debian)
	bash tests/cluster/slurm.sh

lint: $(STAMP)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

notebooks: $(STAMP)  ## execute all chapters and store their outputs in notebooks/, to be committed
	@$(BIN)/python -m workflow.batch workflow/grids/default.yaml --store

lab: $(STAMP)  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab notebooks

checkpoints: $(STAMP)  ## train the committed digits networks again (data/checkpoints)
	$(BIN)/python -m workflow.studies.digits checkpoints

study: $(STAMP)  ## measure the digits networks over heads and seeds (data/results)
	$(BIN)/python -m workflow.studies.digits study
	$(BIN)/python -m workflow.studies.representative

bench: $(STAMP)  ## measure speed and memory against the limit and against other libraries
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/growth.py
	$(BIN)/python benchmarks/precision.py
	$(BIN)/python benchmarks/frozen.py
	$(BIN)/python benchmarks/engine.py

clean:  ## remove what was built; .venv and data/cache stay
	rm -rf _build .pytest_cache .ruff_cache

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing requirements.lock into .venv (the first time takes minutes)"
	@# --no-compile: a module is compiled when it is first imported, most never are
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
