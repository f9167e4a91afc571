# Each target makes its own .venv when it is missing; PYTHON chooses the interpreter for it (3.10 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: quickstart test lint check clean

quickstart: $(READY)  ## search recurrent architectures on text that ships with Python: minutes, no download
	$(BIN)/nas run quickstart.yaml --workers 2

test: $(READY)  ## the tests
	$(BIN)/python -m pytest

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## style, types and tests

clean:  ## remove what make made; your experiments stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is too old: Python 3.10 or newer is needed, e.g. make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) (once; PyTorch is large, so this takes some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@
