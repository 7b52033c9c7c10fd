# What a developer types. CI calls the same targets (.ci/run).
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help demo test check coverage mutate test-contract sim fuzz chaos bench kafka lock clean format $(VENV)

help: ## this list
	@awk -F ':.*## ' '/^[.a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## the main job, told as it happens, against a simulated cluster; exit 0 only when the repair is shown to have worked
	@$(call run,demo)

test: $(INSTALLED) ## everything that proves the product on this machine; ends with the tiers that ran and those that did not
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(INSTALLED) ## format, lint, types, import contracts, generated files fresh, lock consistent
	@failed=; \
	try() { name=$$1; shift; echo "== $$name"; "$$@" || failed="$$failed $$name"; }; \
	try format $(BIN)/ruff format --check .; \
	try lint $(BIN)/ruff check .; \
	try types $(BIN)/mypy; \
	try imports $(BIN)/lint-imports; \
	try generated $(BIN)/python -m schemas.generate --check; \
	try docs $(BIN)/python -m docs.generate --check; \
	try lock $(BIN)/python requirements/lock.py --check; \
	if [ -n "$$failed" ]; then echo "make check failed:$$failed" >&2; exit 1; fi; \
	echo "make check passed"

format: $(INSTALLED) ## put the code into the one format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test-contract: $(INSTALLED) ## the contract suites alone; PD_URL, CLICKHOUSE_URL, KAFKA_BOOTSTRAP_SERVERS name real twins, PD_WRITES=1 lets them be written to
	@$(BIN)/python -m pytest -m contract $(PYTEST_ARGS)

coverage: $(INSTALLED) ## lines and branches of the pure core under its pure tests: 100 %, but for lines that say why not
	@$(BIN)/python -m pytest -q -m pure --cov --cov-context=test --hypothesis-seed=0 $(PYTEST_ARGS)

mutate: $(INSTALLED) ## one change at a time to a file of the core: make mutate FILE=executors/protocol.py, after make coverage
	@$(call run,tests.mutation) $(FILE)

sim: $(INSTALLED) ## deterministic histories: make sim SEED=7 HISTORIES=1000 [PLANT=name] [SHRINK=1]
	@$(call run,tests.simulation) $(if $(SEED),--seed $(SEED)) $(if $(HISTORIES),--histories $(HISTORIES)) $(if $(PLANT),--plant $(PLANT)) $(if $(SHRINK),--shrink)

fuzz: $(INSTALLED) ## every decoder, coverage-guided: make fuzz [SECONDS=600] [DECODER=webhook]
	@$(call run,tests.fuzz) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(DECODER),--decoder $(DECODER))

chaos: $(INSTALLED) ## kills, pauses and broker faults on a real Kafka, checked against the invariants: make chaos MINUTES=5
	@$(call run,tests.chaos) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(if $(BROKERS),--brokers $(BROKERS))

bench: $(INSTALLED) ## ratios against peers and the raw client, in one run, with a table at the end
	@$(call run,benchmarks)

kafka: $(INSTALLED) ## a real Kafka on a free loopback port, in the foreground
	@$(BIN)/python -m infra.local.kafka $(KAFKA_ARGS)

# The environment: what the lock says, checked by hash, from wherever pip is configured to look.
$(INSTALLED): requirements/development.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/it" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing what requirements/development.txt names into $(VENV), about 1 GB"
	@$(PIP) install --require-hashes --no-deps -r requirements/development.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation -e .
	@touch $@

$(VENV): $(INSTALLED) ## only the environment

# With a compiler of locks of its own, so that the locks need not name it.
lock: $(INSTALLED) ## make the locks anew from pyproject.toml (needs a package index)
	@test -x .cache/uv/bin/uv || { $(PYTHON) -m venv .cache/uv && .cache/uv/bin/python -m pip install --quiet uv; }
	$(BIN)/python requirements/lock.py --uv .cache/uv/bin/uv

clean: ## remove the environment and every cache
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# $(call run,MODULE): runs it, or says plainly that there is no such thing yet. Never a silent success.
define run
$(BIN)/python -c 'import importlib.util as u, sys; sys.path.insert(0, "."); \
p = "$(1)".rpartition(".")[0]; found = (not p or u.find_spec(p)) and u.find_spec("$(1)"); \
runs = found and (not found.submodule_search_locations or u.find_spec("$(1).__main__")); \
sys.exit(0 if runs else "make $@: not built yet (there is no module $(1) to run)")' && $(BIN)/python -m $(1)
endef
