# Each target makes the .venv that it needs when it is missing. PYTHON chooses the interpreter (3.10 or newer), OLDEST the
# one of test-oldest.
PYTHON ?= python3
OLDEST ?= python3.10
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST_VENV := .venv-oldest
OLDEST_READY := $(OLDEST_VENV)/.ready
# The lowest versions that pyproject.toml allows; keep both in step.
OLDEST_VERSIONS := "torch==2.3.*" "torchvision==0.18.*" "numpy==1.26.*" "optuna==4.0.*"

# The tests of one module stay together; modules in the order of their folders, so that the slow ones do not come last.
TESTS_AT_ONCE := -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

.PHONY: quickstart test test-gpu test-oldest lint check clean

quickstart: $(READY)  ## search recurrent architectures on text that ships with Python: minutes, no download
	$(BIN)/nas run quickstart.yaml --workers 2

test: $(READY)  ## the tests
	$(BIN)/python -m pytest $(TESTS_AT_ONCE)

test-gpu: $(READY)  ## the tests that need a GPU; the others hide it
	NAS_TEST_GPU=1 $(BIN)/python -m pytest -m gpu

test-oldest: $(OLDEST_READY)  ## the tests with the lowest versions of Python, PyTorch, NumPy and Optuna that are claimed
	$(OLDEST_VENV)/bin/python -m pytest $(TESTS_AT_ONCE)

lint: $(READY)  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint test  ## style, types and tests

clean:  ## remove what make made; your experiments stay
	rm -rf $(VENV) $(OLDEST_VENV) .pytest_cache .mypy_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) is too old: Python 3.10 or newer is needed, e.g. make PYTHON=python3.12"; exit 1; }
	@echo "installing into $(VENV) (once; PyTorch is large, so this takes some minutes)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

$(OLDEST_READY): pyproject.toml
	@echo "installing into $(OLDEST_VENV) (once)"
	$(OLDEST) -m venv $(OLDEST_VENV)
	$(OLDEST_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]" $(OLDEST_VERSIONS)
	@touch $@
