# What a developer types. Each target sets up what it needs; `make help` lists them.

VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin
# Several at a time, as a test mostly waits for its servers. A file is one process's, so its servers are shared.
PROCESSES = 3
PYTEST_ARGS ?= -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
# Where Debian keeps nginx, also for who is not root.
export PATH := $(PATH):/usr/sbin
# Where it is set, each of a hundred servers would compile our modules anew, and each pytest the tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run venv programs test test-fast lock image lint check mutants bench site coverage audit release clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

run: venv  ## everything for real on this machine, with commands to paste (CHECK=1 runs them; KEEP=1 keeps the repository)
	@exec $(BIN)/python -m devstack.demo $(if $(filter-out 0,$(CHECK)),--check) $(if $(filter-out 0,$(KEEP)),--keep)

venv: $(STAMP)  ## .venv with what the server, the tests and the demo need

$(STAMP): requirements.txt requirements-dev.txt devstack/venv.sh devstack/packages.sh
	@sh devstack/venv.sh $(VENV)
	@touch $@

programs:
	@sh devstack/packages.sh tests

test: venv programs  ## the whole suite, on real parts
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-fast: PROCESSES = 4
test-fast: venv programs  ## what a developer runs all day
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

mutants: venv programs  ## take guards out, one by one, in a copy, and show that a test misses each; minutes
	@$(BIN)/python -m devstack.mutants

lock: venv  ## requirements.lock, with hashes, from requirements.txt; the image installs it
	$(BIN)/uv pip compile --quiet requirements.txt --generate-hashes --python-version 3.11 --output-file requirements.lock

image: venv  ## the image built and run: by docker or podman, else by its steps in plain directories (root, Debian; minutes)
	$(BIN)/python -m devstack.engine .run/image

lint: venv  ## format, lint, types, import direction
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## lint and the whole suite

bench: venv  ## all measurements as one table and as pictures in bench/results (BENCHES="sizes vault" takes some); ten minutes
	-@sh devstack/packages.sh bench
	@$(BIN)/python -m bench $(BENCHES)

site: venv  ## docs/ as a site in .run/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

coverage: venv programs  ## the suite with coverage of lines and branches (slower); the report in .run/coverage
	mkdir -p .run && rm -f .run/coverage.data*
	$(BIN)/python -m coverage run -m pytest -p no:xdist $(COVERAGE_ARGS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage html --quiet && $(BIN)/python -m coverage report --skip-covered --sort=cover

audit: venv  ## known holes in what the server is pinned to (asks PyPI)
	@$(BIN)/python -m devstack.audit requirements.lock

release: venv  ## check, build, install in an empty environment and tag: make release VERSION=1.2.3
	$(BIN)/python -m devstack.release $(VERSION)

clean:  ## what these targets have made, but for the environment
	rm -rf .run .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
