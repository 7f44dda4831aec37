# Everything runs in .venv, made on first use from the pinned versions of requirements.lock, checked by their hashes.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
TOOLS := _build/tools/bin
PIP := -m pip install --quiet --disable-pip-version-check
PYTEST_FLAGS ?=
GRID ?= workflow/grids/default.yaml
PROFILE ?= local
.DEFAULT_GOAL := help
.PHONY: book single pdf runs test test-cluster test-faults lint notebooks lab checkpoints study bench gpu-pack \
	lock audit licences dist clean help

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

test-faults: $(STAMP)  ## the long fault suite: kills, pairs of processes, damaged files (data/results)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults

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
	$(BIN)/python benchmarks/batches.py
	$(BIN)/python benchmarks/engine.py

gpu-pack: $(STAMP)  ## pack what the studies on a GPU need, in data/cache/gpu-pack.zip: DATA=FOLDER
	$(BIN)/python benchmarks/gpu_pack.py --data "$(or $(DATA),../shared/data)"

lock: $(TOOLS)  ## write requirements.lock anew, with the hashes of all platforms: FLAGS=--upgrade for new versions
	printf 'setuptools>=77\nwheel\n' | $(TOOLS)/uv pip compile pyproject.toml - --quiet \
		--extra book --extra batch --extra test --universal --python-version 3.11 --generate-hashes --no-annotate \
		--custom-compile-command "make lock" --output-file requirements.lock $(FLAGS)

audit: $(TOOLS)  ## ask the public lists of vulnerabilities about every pinned version
	$(TOOLS)/pip-audit --requirement requirements.lock --require-hashes --disable-pip

licences: $(STAMP) $(TOOLS)  ## list what is installed with versions and licences, in _build/licences.md
	$(TOOLS)/pip-licenses --python $(BIN)/python --format markdown --order license --with-urls \
		--output-file _build/licences.md

dist: $(STAMP)  ## build the package into dist/, and try it in an environment that does not know the project
	@$(BIN)/python -m workflow.dist

clean:  ## remove what was built; .venv and data/cache stay
	rm -rf _build dist .pytest_cache .ruff_cache

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing requirements.lock into .venv (the first time takes minutes)"
	@# Two packages come as sources: what builds them, and this project, is checked by its hash as well.
	@sed -En '/^(setuptools|wheel|packaging)==/,/[^\]$$/p' requirements.lock > .venv/builders.txt
	@$(BIN)/python $(PIP) --require-hashes -r .venv/builders.txt
	@# --no-compile: a module is compiled when it is first imported, most never are
	@$(BIN)/python $(PIP) --no-compile --require-hashes --no-build-isolation -r requirements.lock
	@$(BIN)/python $(PIP) --no-build-isolation --no-deps -e .
	@touch $@

# Not in .venv: nothing of the book needs them.
$(TOOLS):
	@$(PYTHON) -m venv _build/tools
	@$(TOOLS)/python $(PIP) uv==0.13.9 pip-audit==2.10.1 pip-licenses==5.5.5
