# Everything runs from `.venv`, which the first target that needs it makes from the locked requirements.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
.DEFAULT_GOAL := help

help:  ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Only files whose hashes are in the lock are installed: nobody can put others in their place, not even on the index.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes
UV_INSTALL := $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes

$(VENV)/.installed: requirements.txt requirements-uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Set PYTHON=…"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -r requirements-uv.txt
	$(UV_INSTALL) -r requirements.txt
	@# a wrong setting is told by whatever runs next; without this the first build takes some seconds longer
	@$(BIN)/python -m warehouse parse || true
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(UV_INSTALL) -r requirements.txt -r requirements-dev.txt
	@touch $@

install: $(VENV)/.installed  ## Make .venv with the locked requirements

run: $(VENV)/.installed  ## Run the main job to the end and print the results
	@$(BIN)/python -m runner run

rebuild: $(VENV)/.installed  ## Run the main job, rebuilding every table from the lake
	@$(BIN)/python -m runner run --rebuild

summary: $(VENV)/.installed  ## Print what is published
	@$(BIN)/python -m runner summary

# as typed: in the recipe's text the shell would interpret quotes and dollars
sql: export QUERY = $(value Q)
unexport Q
sql: $(VENV)/.installed  ## Query the published warehouse: make sql Q="from marts.agg_kpis_daily"
	@$(BIN)/python -m runner sql -- "$$QUERY"

models: $(VENV)/.installed  ## List the trained models
	@$(BIN)/python -m ml models

alerts: $(VENV)/.installed  ## List the incidents
	@$(BIN)/python -m alerts list

# every shell has its own USER: only one given to make counts, and as typed, whatever make would do with its dollars
ifeq ($(origin USER),command line)
forget: export FORGET_USER = $(value USER)
unexport USER
endif
forget: $(VENV)/.installed  ## Remove a person for good, then run: make forget USER=… (user_id or user_pseudo_id)
ifneq ($(origin USER),command line)
	@echo "say who: make forget USER=… (a user_id or a user_pseudo_id)"; exit 2
else
	@$(BIN)/python -m ingest forget -- "$$FORGET_USER"
	@$(BIN)/python -m runner run
endif

docs: $(VENV)/.installed  ## Write the documentation of every table as one HTML file
	@$(BIN)/python -m runner docs

up: $(VENV)/.installed  ## Start Airflow with its UI on 127.0.0.1:$(PORT) and keep it running
	@$(BIN)/python -m runner up --port $(PORT)

demo: export FUNNELHOUSE_HOME := $(or $(FUNNELHOUSE_HOME),data/demo)
demo: $(VENV)/.installed  ## Let a sample shop live, break and be mended, and watch the alerts come
	@$(BIN)/python -m runner demo --port $(PORT)

down: $(VENV)/.installed  ## Stop what `make up` started
	@$(BIN)/python -m runner down

test: $(VENV)/.installed-dev  ## Run all tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

lint: $(VENV)/.installed-dev  ## Check style, types, imports, SQL and YAML
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.dbt_project.portability
	$(BIN)/sqlfluff lint --processes 2 dbt_project/models expectations/sql
	$(BIN)/yamllint -s .
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

settings-page: $(VENV)/.installed  ## Regenerate docs/settings.md and docs/ga4.schema.json
	@$(BIN)/python -m foundation.settings_page
	@$(BIN)/python -m warehouse ga4-schema

LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock"
lock:  ## Resolve every requirements*.in again, each package with the hashes of its files
	$(LOCK) -o requirements.txt requirements.in
	$(LOCK) -o requirements-dev.txt requirements-dev.in
	$(LOCK) -o requirements-server.txt requirements-server.in
	$(LOCK) -o requirements-uv.txt requirements-uv.in

clean:  ## Remove .venv and caches (not the data)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache dbt_project/target

.PHONY: help install run rebuild summary sql models alerts forget docs up demo down test lint settings-page lock clean
