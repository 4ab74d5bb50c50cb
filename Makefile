# Everything that a developer or an operator does with a checkout. `make help` lists it.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# pip needs no questions, no version check, and nothing that is not pinned by hash.
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Rollbook needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/run.done: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo "Installing Rollbook into $(VENV) ..." >&2
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/dev.done: requirements/dev.txt $(VENV)/run.done
	@echo "Installing what the tests and checks need ..." >&2
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: install
install: $(VENV)/run.done ## Make .venv and install Rollbook from hash-pinned requirements

.PHONY: serve
serve: $(VENV)/run.done ## Install if need be, then serve; PORT, HOST and ROLLBOOK_DATABASE are honoured
	@exec $(BIN)/rollbook serve

.PHONY: test
test: $(VENV)/dev.done ## Install if need be, then run the whole suite on SQLite and on PostgreSQL
	@$(BIN)/pytest -n $(JOBS) --dist worksteal $(TESTS)
	@$(BIN)/pytest -n $(JOBS) --dist worksteal --database postgresql $(TESTS) || \
		{ code=$$?; test $$code -eq 5 && echo "None of these tests is about PostgreSQL." || exit $$code; }

# What a contacts server is for: made, listed, found, changed, tagged, noted, merged, erased, many at once.
SHARDED := $(addprefix tests/contract/test_, 1_create_contact.py 5_1_sites.py 5_2_contacts.py \
	5_3_contact_tags.py 5_4_contact_notes.py 5_5_custom_fields.py 7_filters.py) \
	$(addprefix tests/extensions/test_, batch.py consent.py cursors.py erase.py merge_and_export.py \
	operations.py upsert.py) tests/storage/test_shards.py

.PHONY: test-shards
test-shards: $(VENV)/dev.done ## Run the main tests on PostgreSQL's tables in parts, then strictly isolated and through pgbouncer
	@$(BIN)/pytest -n $(JOBS) --dist worksteal --database postgresql --partitioned $(SHARDED)
	@$(BIN)/pytest -n $(JOBS) --dist worksteal --database postgresql --partitioned --serializable \
		$(if $(shell PATH="$$PATH:/usr/sbin" command -v pgbouncer),--pooler) $(SHARDED)

.PHONY: coverage
coverage: $(VENV)/dev.done ## Run the suite and report line and branch coverage of src
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -n $(JOBS) --dist worksteal $(TESTS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --fail-under=95

.PHONY: check
check: $(VENV)/dev.done ## Lint, format check, types, direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: docs
docs: $(VENV)/dev.done ## Write the pages of docs/ that follow from declarations
	@$(BIN)/python docs/make_tables.py

.PHONY: format
format: $(VENV)/dev.done ## Format the code and mend what can be mended
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

.PHONY: lock
lock: ## Pin requirements/*.in anew, with hashes (needs uv)
	@for name in run dev; do uv pip compile --quiet --upgrade --universal --python-version 3.11 \
		--generate-hashes --custom-compile-command "make lock" \
		requirements/$$name.in -o requirements/$$name.txt; done
