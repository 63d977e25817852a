# Every target works on a machine that has Python 3.11 or newer and make, and creates what it needs.
PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
TOOLS := .tools
DIR ?=
ONCE ?=
OVERLAY ?= rhoai
IMAGE ?=
OBJECT_STORE ?=
DELETE_DATA ?=
# How many processes run tests side by side; 0 is this one alone.
WORKERS ?= 2
# The environment of this project is its own: a venv that happens to be active is none of uv's business.
unexport VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage e2e check crds bench soak deploy undeploy kind format clean

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## Make .venv from uv.lock

$(VENV)/.installed: pyproject.toml uv.lock Makefile | $(TOOLS)/bin/uv
	$(TOOLS)/bin/uv sync --frozen --python $(PYTHON) --compile-bytecode
	@# uv compiles what it installs; this project is installed by a link to its source.
	$(BIN)/python -m compileall -q operator
	@touch $@

$(TOOLS)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Gatehouse needs Python 3.11 or newer; set PYTHON=/path/to/python3")'
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

demo: install ## Run the main job on a local cluster, with a view of the gates; ONCE=1 stops when it is ready
	$(BIN)/gatehouse demo $(if $(ONCE),--once) $(if $(DIR),--dir $(DIR))

test: install ## Run every test but those that need a node
	$(BIN)/gatehouse local programs control-plane
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: install ## Run the tests that need no server, and print which lines none of them reaches
	$(BIN)/pytest --numprocesses $(WORKERS) --dist loadfile --cov --cov-report=term:skip-covered tests/unit tests/runtime $(ARGS)

e2e: install ## Run the tests on a whole local node with real Pods; needs root on Linux
	$(BIN)/gatehouse local programs e2e
	$(BIN)/pytest tests/e2e --numprocesses 2 $(ARGS)

deploy: install ## Install on the cluster of the current context: OVERLAY=rhoai|postgres|embedded|kind [IMAGE=] [OBJECT_STORE=minio]
	$(BIN)/gatehouse deploy $(OVERLAY) $(if $(IMAGE),--image $(IMAGE)) $(if $(OBJECT_STORE),--object-store $(OBJECT_STORE)) $(ARGS)

undeploy: install ## Take it off again; keeps data unless DELETE_DATA=1
	$(BIN)/gatehouse undeploy $(OVERLAY) $(if $(DELETE_DATA),--delete-data) $(if $(OBJECT_STORE),--object-store $(OBJECT_STORE)) $(ARGS)

kind: install ## The same on a kind cluster that this makes; needs Docker
	$(BIN)/gatehouse kind $(ARGS)

check: install ## Lint, types, import contracts, and that crds/ is up to date
	$(BIN)/ruff format --check operator tests
	$(BIN)/ruff check operator tests
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/gatehouse crds --check crds
	$(BIN)/gatehouse settings --check docs/settings.md

soak: install ## For hours: mutants to parsers, objects to validators, models of PyPI and npm; MUTANTS= OBJECTS= PACKAGES=DIR
	$(BIN)/pytest tests/soak $(if $(MUTANTS),--mutants $(MUTANTS)) $(if $(OBJECTS),--objects $(OBJECTS)) $(if $(PACKAGES),--packages $(PACKAGES)) $(ARGS)

crds: install ## Render crds/ from the types
	$(BIN)/gatehouse crds --write crds

bench: install ## Print the figures: rates, counts, memory; JSON in bench-results/
	@# With PYTHONDONTWRITEBYTECODE set, each start of an operator would compile what has changed since the install.
	$(BIN)/python -m compileall -q operator
	$(BIN)/gatehouse local programs control-plane
	$(BIN)/python tests/bench $(ARGS)

format: install ## Format the code
	$(BIN)/ruff format operator tests
	$(BIN)/ruff check --fix operator tests

clean: ## Remove what the other targets made here
	rm -rf $(VENV) $(TOOLS) bench-results htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
