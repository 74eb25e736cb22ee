# `make demo` and `make test` need nothing but Python 3.11+: they make .venv themselves and reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TESTING := $(VENV)/.test-installed
BENCH := .venv-benchmark
FLOWER := .venv-flower
RAY := .venv-ray
DOMAINS := .venv-domains
PEERS := snntorch==1.0.0 spikingjelly==2.0.0 norse==1.1.0 sinabs==3.1.3
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test test-long test-flower test-ray test-domains lint format pictures results benchmark benchmark-federation benchmark-population performance campaigns clean

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e .
	@touch $@

# What the tests need besides: checkers, and Triton, whose kernels are run by its interpreter.
$(TESTING): $(STAMP)
	$(BIN)/pip install -q -c constraints.txt -e '.[test,tensorboard]'
	@touch $@

demo: $(STAMP)  ## install, train three networks on real handwritten digits, compare them
	$(BIN)/bitspike train digits-full --overwrite
	$(BIN)/bitspike train digits-st --overwrite
	$(BIN)/bitspike train digits-bayes --overwrite
	@echo
	$(BIN)/bitspike compare runs/digits-full runs/digits-st runs/digits-bayes --out runs/digits.html

# Two processes of one thread each: on two cores they get in each other's way least.
test: $(TESTING)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# Flower pins much of what it needs, so that it has an environment of its own.
$(FLOWER)/.installed: pyproject.toml constraints.txt Makefile
	@test -x $(FLOWER)/bin/python || $(PYTHON) -m venv $(FLOWER)
	$(FLOWER)/bin/pip install -q -c constraints.txt torch
	$(FLOWER)/bin/pip install -q -c constraints.txt -e '.[flower]' pytest
	@touch $@

test-flower: $(FLOWER)/.installed  ## minutes: federations by Flower, simulated and over TLS on this machine
	OMP_NUM_THREADS=1 $(FLOWER)/bin/pytest -m flower tests/federated

$(RAY)/.installed: pyproject.toml constraints.txt Makefile
	@test -x $(RAY)/bin/python || $(PYTHON) -m venv $(RAY)
	$(RAY)/bin/pip install -q -c constraints.txt torch
	$(RAY)/bin/pip install -q -c constraints.txt -e '.[ray]' pytest
	@touch $@

test-ray: $(RAY)/.installed  ## minutes: populations on Ray's clusters, one of two machines that are simulated
	OMP_NUM_THREADS=1 $(RAY)/bin/pytest -m ray tests/population

$(DOMAINS)/.installed: pyproject.toml constraints.txt Makefile
	@test -x $(DOMAINS)/bin/python || $(PYTHON) -m venv $(DOMAINS)
	$(DOMAINS)/bin/pip install -q -c constraints.txt torch
	$(DOMAINS)/bin/pip install -q -c constraints.txt -e '.[domains]' pytest
	@touch $@

test-domains: $(DOMAINS)/.installed  ## a minute: populations that play, translate and paint (examples/population)
	OMP_NUM_THREADS=1 $(DOMAINS)/bin/pytest -m '' tests/population/test_domains.py

test-long: $(TESTING)  ## minutes: kill-and-resume at 20 moments, two processes, real-data trainings
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m 'long and not flower and not ray'

lint: $(TESTING)
	$(BIN)/ruff check src tests benchmarks examples docs
	$(BIN)/ruff format --check src tests benchmarks examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --no-cache

format: $(TESTING)
	$(BIN)/ruff format src tests benchmarks examples docs
	$(BIN)/ruff check --fix src tests benchmarks examples docs

pictures: $(STAMP)  ## the README's pictures, from the runs that `make demo` leaves
	$(BIN)/python docs/make_pictures.py

results: $(STAMP)  ## hours: every file in results/, three seeds each (needs BITSPIKE_DATA)
	bash docs/make_results.sh

# The other libraries come without their dependencies, which would bring a torch of their own; these are what they
# need to be imported.
$(BENCH)/.installed: pyproject.toml constraints.txt Makefile
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/pip install -q -c constraints.txt torch
	$(BENCH)/bin/pip install -q -c constraints.txt -e .
	$(BENCH)/bin/pip install -q --no-deps $(PEERS)
	$(BENCH)/bin/pip install -q --no-deps loguru pbr tqdm
	@touch $@

benchmark: $(BENCH)/.installed  ## minutes: time and memory of ours and the other libraries, to results/benchmarks
	$(BENCH)/bin/python -m benchmarks.neurons
	THP_MEM_ALLOC_ENABLE=0 $(BENCH)/bin/python -m benchmarks.neurons --headline --out results/benchmarks/small-pages
	$(BENCH)/bin/python -m benchmarks.training
	$(BENCH)/bin/python -m benchmarks.memory
	$(BENCH)/bin/python -m benchmarks.lmu
	$(BENCH)/bin/python -m benchmarks.events
	$(BENCH)/bin/python -m benchmarks.circuits
	$(BENCH)/bin/python -m benchmarks.relu_conversion

# On a machine that does nothing else; needs BITSPIKE_DATA.
benchmark-federation: $(FLOWER)/.installed  ## minutes: a federation's engines, and clients in one stack, streams, to results/benchmarks
	$(FLOWER)/bin/python -m benchmarks.federation
	$(FLOWER)/bin/python -m benchmarks.stacked
	$(FLOWER)/bin/python -m benchmarks.streams

benchmark-population: $(RAY)/.installed  ## minutes: overhead of populations, ours and Ray Tune's, to results/benchmarks
	$(RAY)/bin/python -m benchmarks.population_overhead

performance: $(STAMP)  ## docs/performance.md and its pictures, from results/benchmarks
	$(BIN)/python docs/make_performance.py

campaigns: $(TESTING)  ## hours: thousands of damaged files for every reader and file of a run; results/campaigns.json
	nice -n 15 $(BIN)/python -m tests.campaigns.mutants --all
	nice -n 10 $(BIN)/python -m tests.campaigns.options
	nice -n 10 $(BIN)/python -m tests.campaigns.kills

clean:
	rm -rf runs build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
