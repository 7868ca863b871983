# Everything that a person does with Holdfast's source. Each target sets up what it needs first; the second time
# that takes a fraction of a second. `make help` lists them.

SHELL := /bin/sh
BIN := .venv/bin
ONLY ?=
TESTS ?= tests

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests setup-servers run demo test lint format verify bench figures lock wheel clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Install what running needs (Python packages, Node, the WhatsApp engine)
	@./scripts/setup.sh

setup-tests:
	@./scripts/setup.sh --tests

# Checks that need a server which cannot be had fail by themselves, and say so.
setup-servers: setup
	-@$(BIN)/python scripts/debian.py

run: setup ## Start Holdfast on SQLite in ./data
	@exec $(BIN)/holdfast serve

demo: setup ## A simulated WhatsApp, Holdfast, and two phones that talk
	@exec $(BIN)/holdfast demo

test: setup-tests ## Run every test, linters and type checks included (TESTS=path for some)
	@exec $(BIN)/python -m pytest -n 3 --dist loadgroup $(TESTS)

lint: setup ## Run linters and type checks only
	@exec $(BIN)/python -m pytest -n 2 tests/static

format: setup ## Format the Python source
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

verify: setup-servers ## Show every promise kept, one line each (ONLY=G3 for some)
	@exec $(BIN)/python -m verify $(ONLY)

bench: setup ## Measure, each figure beside its floor (ONLY=B1 for some)
	@exec $(BIN)/python -m bench $(ONLY)

figures: setup ## Write the figures that were measured into README's table
	@$(BIN)/python -m bench.figures

lock: setup ## Lock the dependencies anew, Python's and the sidecar's
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --upgrade requirements.in -o requirements.txt
	@echo hatchling | UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --constraints requirements.txt pyproject.toml - -o requirements-server.txt
	@cd sidecar && PATH="$(CURDIR)/$(BIN):$$PATH" npm update --package-lock-only --ignore-scripts --no-audit --no-fund \
		--omit-lockfile-registry-resolved
	@echo "Locked. Run make test, then commit requirements.txt, requirements-server.txt and sidecar/package-lock.json."

wheel: setup ## Build the wheel into dist/
	@$(BIN)/uv build --quiet --wheel --no-build-isolation --out-dir dist .

clean: ## Remove what was installed and built; data stays
	@rm -rf .venv sidecar/node_modules dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
