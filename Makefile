# make demo       one model, three experts, MEML-GRPO beside GRPO, a report at the end
# make test       the tests                     make test-long   the tests that take minutes
# make check      exactly what CI runs          make setup       only install, with all that development needs
# make bench      one step here and in TRL, side by side, and how near this machine's limit; 8 minutes, free cores
#
# Each target makes .venv and installs the versions of constraints.txt, when that has not been done or they changed.
# Another Python: make test PYTHON=python3.12

PYTHON ?= python3
BIN := .venv/bin
BENCH := dev,bench

export PIP_DISABLE_PIP_VERSION_CHECK := 1

define install
@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
    f"manyminds needs Python 3.11 or newer and $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
@test -x $(BIN)/python || { echo "==> making .venv"; $(PYTHON) -m venv .venv; }
@echo "==> installing manyminds[$(1)] into .venv: torch, transformers and the rest, a few minutes the first time"
@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[$(1)]"
endef

.PHONY: demo test test-long check setup bench
.NOTPARALLEL:

demo: .venv/ready-demo
	@$(BIN)/manyminds demo

test: .venv/ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-long: .venv/ready-dev
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m long

check: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@$(MAKE) --no-print-directory test

setup: .venv/ready-dev

bench: .venv/ready-bench
	$(BIN)/python benchmarks/limit.py --out benchmarks/results/limit.json
	$(BIN)/python benchmarks/step_vs_trl.py --out benchmarks/results/step_vs_trl.json

.venv/ready-demo: pyproject.toml constraints.txt
	$(call install,demo)
	@touch $@

# What development needs holds what the demo needs.
.venv/ready-dev: pyproject.toml constraints.txt
	$(call install,dev)
	@touch .venv/ready-demo $@

.venv/ready-bench: .venv/ready-dev
	$(call install,$(BENCH))
	@touch $@
