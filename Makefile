# make quickstart | test | test-all | test-lowest | lint | bench: each makes the virtual environment that it needs.
PYTHON ?= python3
VENV ?= .venv
OUT ?= quickstart_output
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYTHONUNBUFFERED := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: quickstart test test-all test-lowest lint bench clean

$(VENV)/.base: constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -q --upgrade pip
	@echo "installing torch"
	$(PIP) install -q -c constraints.txt torch==2.13.0
	@touch $@

$(VENV)/.quickstart: $(VENV)/.base setup.cfg pyproject.toml
	@echo "installing hf-emo-dist"
	$(PIP) install -q -c constraints.txt -e ".[train,reports,augment]"
	@touch $@

$(VENV)/.dev: $(VENV)/.base setup.cfg pyproject.toml
	@echo "installing hf-emo-dist for development"
	$(PIP) install -q -c constraints.txt -e ".[dev]"
	@touch $@

# The main job on simulated speech; each step is a command that is shown before it runs.
quickstart: $(VENV)/.quickstart
	$(BIN)/hf-emo-dist quickstart --output $(OUT) --overwrite

# One thread a process: two processes of two threads each are slower on two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# The fast set, which CI runs.
test: $(VENV)/.dev
	$(PYTEST) -m "not slow"

test-all: $(VENV)/.dev
	$(PYTEST)

# The oldest versions that setup.cfg allows, in an environment of their own (the oldest torch is a CUDA build: 6 GB).
LOWEST ?= .venv-lowest
$(LOWEST)/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip --disable-pip-version-check install -q uv
	$(LOWEST)/bin/uv pip compile -q --resolution lowest-direct --python $(LOWEST)/bin/python \
		--extra train --extra reports --extra augment --extra tables setup.cfg -o $(LOWEST)/lowest.txt
	$(LOWEST)/bin/uv pip install -q --python $(LOWEST)/bin/python -r $(LOWEST)/lowest.txt pytest pytest-xdist hypothesis
	$(LOWEST)/bin/uv pip install -q --python $(LOWEST)/bin/python --no-deps -e .
	@touch $@

# Reading, loading and training with them.
test-lowest: $(LOWEST)/.installed
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n 2 --dist loadfile -m "not slow" \
		tests/data tests/corpora tests/modeling tests/training

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# those that train on a data set of yours, and want to be told where to write, are run by themselves
BY_HAND := $(addprefix benchmarks/,common.py augmentation_ablation.py backbones.py combining_ravdess.py) \
	$(wildcard benchmarks/endurance*.py)

bench: $(VENV)/.dev
	@for file in $(filter-out $(BY_HAND),$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) $(LOWEST) quickstart_output build dist .pytest_cache .ruff_cache .mypy_cache
