# make quickstart | test | lint | bench — each makes the virtual environment that it needs.
PYTHON ?= python3
VENV ?= .venv
OUT ?= quickstart_output
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
export PYTHONUNBUFFERED := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: quickstart test lint bench clean

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

# The main job on simulated speech: data, votes of simulated annotators, a small backbone, training, scores and plots, one prediction.
quickstart: $(VENV)/.quickstart
	rm -rf $(OUT)
	$(BIN)/python dataset_scripts/simulated.py $(OUT)/data --num_utterances 1200 --num_speakers 30
	$(BIN)/python recipes/prepare.py --config recipes/configs/prepare/quickstart.yaml \
		--dataset $(OUT)/data --output $(OUT)/prepared --ledger $(OUT)/votes.sqlite
	$(BIN)/python recipes/mini_backbone.py $(OUT)/backbone --hidden_size 96
	$(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no --cpu \
		recipes/train.py --config recipes/configs/quickstart.yaml \
		--backbone $(OUT)/backbone --dataset $(OUT)/prepared --output_dir $(OUT)/model
	$(BIN)/python recipes/evaluate.py --model $(OUT)/model --dataset $(OUT)/prepared --split test --output $(OUT)/scores.json
	$(BIN)/hf-emo-dist report strata quickstart=$(OUT)/prepared --split test --train_split train \
		--predictions $(OUT)/predictions.parquet --output $(OUT)/report
	$(BIN)/python recipes/export_clip.py $(OUT)/prepared --split test --output $(OUT)/clip.wav
	$(BIN)/python recipes/predict.py --model $(OUT)/model $(OUT)/clip.wav
	@echo "Look at $(OUT)/reliability.png and $(OUT)/predicted_against_target.png; the checkpoint is $(OUT)/model."
	@echo "Open $(OUT)/report/strata.html in a browser: where listeners agree and where they do not."

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	@for file in $(filter-out benchmarks/common.py,$(wildcard benchmarks/*.py)); do echo "== $$file"; $(BIN)/python $$file || exit 1; done

clean:
	rm -rf $(VENV) quickstart_output build dist .pytest_cache .ruff_cache .mypy_cache
