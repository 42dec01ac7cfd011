# Few verbs. `make demo` and `make test` need only Debian 12 with python3, python3-venv, make and git.
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check
# in 10 s what takes pip 50
UV := $(BIN)/uv pip install -q --python $(BIN)/python
FAULT_TOOLS := strace iproute2 libfaketime

# A garbage collector finds what was left open at moments of its own, in tests that have nothing to do with it. `make test`
# states facts and only tells of it; for pytest by itself it is an error, of the module that left it.
TOLD := -W default::ResourceWarning -W default::pytest.PytestUnraisableExceptionWarning

.PHONY: setup demo test lint slow system fault soak bench bench-gateway-short docs lock clean

setup: $(STAMP)

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -m venv $(VENV)
	@echo "installing atoll, its tools and the demo's libraries into $(VENV) …"
	@$(PIP) uv && $(UV) --compile-bytecode -r requirements.lock && $(UV) --no-deps -e . || \
	  { echo "pip, which knows the mirrors of pip.conf, does what uv could not …"; $(PIP) -r requirements.lock && $(PIP) --no-deps -e .; }
	@touch $@

demo: setup
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python examples/shop/demo.py || [ $$? -eq 130 ]  # Ctrl-C is how it ends

test: setup  # in the order of the files: what it says twice is the same; pytest by itself and `make system` shuffle
	@$(BIN)/ruff check -q . && $(BIN)/ruff format -q --check .
	@$(BIN)/lint-imports >/dev/null || $(BIN)/lint-imports
	@$(BIN)/mypy
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m "not slow" -p no:randomly $(TOLD)

slow: setup  # what takes more than a few seconds and has no target of its own
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m slow tests --ignore=tests/fault --ignore=tests/system

system: setup  # whole platforms as a user has them, the slow ones too
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest tests/system

fault: setup  # breaks the running system on purpose: the long form of tests/fault, with a new seed each time
	@dpkg -s $(FAULT_TOOLS) >/dev/null 2>&1 || [ "$$(id -u)" -ne 0 ] || apt-get install -qq -y $(FAULT_TOOLS) || true
	@PATH="$(CURDIR)/$(BIN):$$PATH" ATOLL_FAULT=long $(BIN)/pytest tests/fault -p no:randomly --tb=short
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pytest -m slow tests/contract/telemetry

soak: setup  # hours of a platform under load, churn and faults; SOAK=10m for the short form
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m tests.fault.soak

bench: setup
	@$(BIN)/python -m pip install -q --disable-pip-version-check --group bench
	@for one in gateway policies driver store discovery cli; do $(BIN)/python -m bench.$$one || exit 1; done

bench-gateway-short: setup
	@$(BIN)/python -m bench.gateway --short

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports && $(BIN)/mypy

lock: setup
	@$(BIN)/python -m pip install -q uv
	@$(BIN)/uv pip compile -q --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header \
	  pyproject.toml --extra telemetry --group dev --group shop -o requirements.lock

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
