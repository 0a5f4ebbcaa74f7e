# One command checks all: `make check`. `make demo` and `make test` set themselves up on a fresh machine.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
WORK   ?= work
# Of `make torture`: where its random faults begin, how long it goes on, in seconds, and how many altered files are read after that.
SEED     ?= 1
DURATION ?= 3600
INPUTS   ?= 5000

.PHONY: install demo test check bench torture clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install
	$(BIN)/harness run fig12 --workdir $(WORK)

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

bench: install
	$(BIN)/python -m tests.benchmarks --out bench

torture: install
	$(BIN)/python -m tests.faults.torture --seed $(SEED) --duration $(DURATION)
	$(BIN)/python -m tests.faults.fuzz $(SEED) $(INPUTS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
