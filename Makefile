# Two commands matter: `make demo` and `make test`. Each installs all it needs into .venv from the hashed lock files.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test test-spark test-mariadb audit fuzz bench bench-spark bench-peers bench-peers-times peers lock clean format check

$(VENV)/.demo: requirements/demo.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/demo.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.demo

demo: $(VENV)/.demo
	$(BIN)/discreet demo $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Ledgers wait for the disk at each commit: where memory has room, tests keep their files there.
IN_MEMORY = if test -n "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 8000000')"; then \
	  export TMPDIR=$$(mktemp -d -p /dev/shm); chmod 1777 "$$TMPDIR"; trap 'rm -rf "$$TMPDIR"' EXIT; fi;

test: check
	$(IN_MEMORY) $(BIN)/pytest -n 3 --dist worksteal $(ARGS)

# Spark is half a gigabyte and needs Java 17: its tests have an environment of their own.
.venv-spark/.spark: requirements/spark.txt pyproject.toml
	test -x .venv-spark/bin/python || $(PYTHON) -m venv .venv-spark
	.venv-spark/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/spark.txt
	.venv-spark/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

test-spark: .venv-spark/.spark
	.venv-spark/bin/pytest -m spark $(ARGS)

# Whole requests on Spark beside plain SQL: ten million rows in partitioned folders of Parquet files.
bench-spark: .venv-spark/.spark
	.venv-spark/bin/python -m tests.bench.plans --engine spark $(ARGS)

# MariaDB is not on PyPI: its server comes from the system (Debian: mariadb-server) and is started by the tests.
test-mariadb: $(VENV)/.dev
	$(BIN)/pytest -m mariadb $(ARGS)

audit: $(VENV)/.dev
	$(IN_MEMORY) $(BIN)/pytest -m audit -n 2 --dist worksteal $(ARGS)

# A million hostile texts; takes half an hour on one core, so nothing waits for it.
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.sql.fuzz $(ARGS)

# With arguments the figures of tests.bench alone; without, whole requests, load and memory too, at modest sizes.
bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench $(ARGS)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m tests.bench.plans --rows 1000000
	$(BIN)/python -m tests.bench.tpch --scale 0.1
	$(BIN)/python -m tests.bench.load
	$(BIN)/python -m tests.bench.memory --keys 1000000
	$(BIN)/python -m tests.bench.growth
endif

# Other systems over the same data at the same price; they need other versions of what we need, so they live apart.
.venv-peers/.peers: requirements/peers.txt
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/peers.txt
	touch $@

peers: .venv-peers/.peers

# Some twenty minutes and five gigabytes of disk; with arguments errors alone: ARGS="--owners 1000" takes a minute.
bench-peers: $(VENV)/.dev .venv-peers/.peers
	$(BIN)/python -m tests.bench.peers $(ARGS)
ifeq ($(strip $(ARGS)),)
	$(BIN)/python -m tests.bench.peers.times
endif

# Times alone; ARGS="--rows 10000000" takes more than an hour.
bench-peers-times: $(VENV)/.dev .venv-peers/.peers
	$(BIN)/python -m tests.bench.peers.times $(ARGS)

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Needs `uv` on the path; writes the lock files, hashes included, for every supported Python and platform.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --extra demo --extra build --output-file requirements/demo.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --extra dev --output-file requirements/dev.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --extra dev --extra spark --output-file requirements/spark.txt pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --custom-compile-command "make lock" \
	  --output-file requirements/peers.txt requirements/peers.in

clean:
	rm -rf $(VENV) .venv-spark .venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .demo dist build
