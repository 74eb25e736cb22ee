# `make demo` and `make test` need nothing but Python 3.11+: they make .venv themselves and reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-long lint format pictures results clean

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test,tensorboard]'
	@touch $@

demo: $(STAMP)  ## install, train three networks on real handwritten digits, compare them
	$(BIN)/bitspike train digits-full --overwrite
	$(BIN)/bitspike train digits-st --overwrite
	$(BIN)/bitspike train digits-bayes --overwrite
	@echo
	$(BIN)/bitspike compare runs/digits-full runs/digits-st runs/digits-bayes --out runs/digits.html

test: $(STAMP)
	$(BIN)/pytest

test-long: $(STAMP)  ## minutes: kill-and-resume at 20 moments, two processes, real-data trainings
	$(BIN)/pytest -m long

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff format src tests benchmarks examples docs
	$(BIN)/ruff check --fix src tests benchmarks examples docs

pictures: $(STAMP)  ## the README's pictures, from the runs that `make demo` leaves
	$(BIN)/python docs/make_pictures.py

results: $(STAMP)  ## hours: every file in results/, three seeds each (needs BITSPIKE_DATA)
	bash docs/make_results.sh

clean:
	rm -rf runs build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
