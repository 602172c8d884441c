# make install   .venv with the right engine (CPU or GPU) and the package
# make dataset   the main job: SOURCE=vqa.jsonl CONFIG=configs/x.yaml OUT=runs/x for your own questions
# make mpo       what the pairs are worth: builds, trains and evaluates the pocket model in many ways (hours)
# make test      the tests; make test-fast: those of a moment; make test-slow: those with many engine starts
# make check     lint, format, types, the manual's links
# make docs      the manual as a site, in site/
# make wheel     the wheel, installed in fresh environments without extras, with data and with cpu, and used
SHELL := /bin/bash
.ONESHELL:
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
ENGINE ?= $(if $(wildcard /dev/nvidia0),gpu,cpu)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(ENGINE)

SOURCE ?= runs/demo-questions/vqa.jsonl
OUT ?= runs/demo
CONFIG ?=
QUESTIONS ?= 200

.PHONY: install dataset mpo test test-fast test-faults test-slow check docs wheel bench bench-faults clean
install: $(STAMP)

$(STAMP): pyproject.toml Makefile
	@echo "installing mmpr, its tools and the $(ENGINE) engine into $(VENV): some minutes, several GB"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	# The CPU engine wants torch's CPU build, which PyPI does not have: from where pip is set up to look, else uv knows.
	if [ $(ENGINE) = cpu ]; then
		$(BIN)/pip install --quiet 'torch==2.13.0+cpu' || { $(BIN)/pip install --quiet uv && \
			$(BIN)/uv pip install --quiet --python $(BIN)/python --torch-backend cpu 'torch==2.13.0'; }
	fi
	$(BIN)/pip install --quiet -e '.[$(ENGINE),dev]'
	touch $@

# The demo's questions are made anew only for the demo; a SOURCE of your own must exist.
runs/demo-questions/vqa.jsonl: | $(STAMP)
	$(BIN)/mmpr demo --questions-only --n $(QUESTIONS) --out runs

dataset: $(STAMP) $(SOURCE)
	$(BIN)/mmpr build --source $(SOURCE) --out $(OUT) $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

mpo: $(STAMP)
	$(BIN)/python -m pipelines.mpo.experiment --out runs/mpo $(ARGS)

# Tests of a moment.
test-fast: $(STAMP)
	$(BIN)/python -X faulthandler -m tests -n 2 -m "not slow and not engine and not ray and not long"

# Engines and Ray one after another, and all others beside them.
test: $(STAMP)
	$(BIN)/python -m tests.side_by_side

# Thirty drawn faults: two minutes that CI spends.
test-faults: $(STAMP)
	$(BIN)/python -X faulthandler -m tests -m slow tests/faults/test_faults.py

test-slow: $(STAMP)
	$(BIN)/python -X faulthandler -m tests -m slow

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) --no-print-directory docs

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

wheel:
	for extra in "" data cpu; do PYTHON=$(PYTHON) .ci/wheel $$extra; done

bench: $(STAMP)
	$(BIN)/python -m benchmarks.bench_judge
	$(BIN)/python -m benchmarks.bench_cpu
	$(BIN)/python -m benchmarks.bench_adaptive --questions 60

bench-faults: $(STAMP)
	$(BIN)/python -m benchmarks.bench_faults

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
