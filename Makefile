# make demo | test | lint | clean | help
#
# The first target that needs it makes .venv and installs what constraints.txt names; later ones start at once.
#   PYTHON=python3.12     another interpreter, 3.11 or newer
#   PIP_ARGS="..."        further options of `pip install`
# torch comes first, by itself. On Linux the default build brings several gigabytes of CUDA libraries; on a machine
# without a GPU, name the index of PyTorch's CPU builds, as its installation page gives it:
#   make demo PIP_ARGS="--extra-index-url <index of the CPU builds>"

PYTHON ?= python3
PIP_ARGS ?=
BIN := .venv/bin

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed ## train, evaluate and write a report, in minutes on two CPU cores
	$(BIN)/timecost demo

test: lint ## lint and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: .venv/.installed ## style and format of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean: ## remove .venv and what tools left behind, never outputs/
	rm -rf .venv build dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
		{ echo "error: $(PYTHON) is not Python 3.11 or newer with venv; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt torch
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: help demo test lint clean
