# Everything a newcomer needs; `make demo` and `make test` set up what they use.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= onepair-demo
SEED ?= 0
TEST_PROCESSES ?= 2
PACKAGES := osmis_core jobs service worker cli

.PHONY: setup demo serve test test-slow test-compose test-gpu lint audit format bench bench-quality bench-quality-small bench-gpu bench-load bench-memory bench-refinement bench-scoring bench-step bench-switches bench-tables chaos constraints clean

setup: $(STAMP)

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --no-index -e .
	touch $@

demo: setup  ## the main job on the coins photograph, about ten minutes on two cores
	$(BIN)/onepair run examples/coins/image.png examples/coins/mask.png \
		--preset standard --minutes 6 --data-dir $(OUT)/service -o $(OUT)

serve: setup
	$(BIN)/onepair serve

test: setup  ## everything that is fast; a file of tests stays in one of the processes
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow and not gpu"

test-slow: setup  ## real trainings, faults in the middle of them, planted failures
	$(BIN)/python -m pytest -m slow

chaos: setup  ## twenty jobs under kill -9, pauses and lost messages: a quarter of an hour; SEED=1
	$(BIN)/python -m tests.chaos --seed $(SEED)

test-compose: setup  ## images really built and the stack really run, by a Docker engine of its own
	$(BIN)/python -m tests.compose

test-gpu: setup
	$(BIN)/python -m pytest -m gpu

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: setup  ## known vulnerabilities in what is pinned, as far as they can be looked up
	$(PYTHON) .ci/audit

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: bench-step bench-scoring bench-refinement bench-memory bench-quality

bench-step: setup  ## one training step beside the yardsticks, paired
	$(BIN)/python -m bench.step

bench-switches: setup  ## each fast path of the step, alone and without it
	$(BIN)/python -m bench.step --switches

bench-load: setup  ## one gateway under polls, event streams and uploads: three minutes
	$(BIN)/python -m bench.load

bench-tables: setup  ## the paper's Tables 3 and 4, small: an hour on two cores, resumable
	$(BIN)/python -m bench.tables
	$(BIN)/python -m bench.tables.segmentation

bench-gpu: setup  ## the same on a GPU; says so where there is none
	$(BIN)/python -m bench.step --device cuda
	$(BIN)/python -m bench.step --switches --device cuda --row osmis-128x256 --row projected-64x96
	$(BIN)/python -m bench.refinement --hundred --device cuda

bench-refinement: setup  ## a sample beside the prototype, and a hundred as a set refines them
	$(BIN)/python -m bench.refinement
	$(BIN)/python -m bench.refinement --hundred

bench-scoring: setup  ## scoring against the textbook's matrix square root: about ten minutes
	$(BIN)/python -m bench.scoring

bench-memory: setup  ## memory while generating 10 000 samples and a whole set: about ten minutes
	$(BIN)/python -m bench.memory

bench-quality: setup  ## every method on every pair: some three hours on two cores, resumable
	$(BIN)/python -m bench.quality

bench-quality-small: setup  ## coins, 3 minutes of training, one seed: ten minutes
	$(BIN)/python -m bench.quality --small

constraints: setup  ## after a change of the dependencies in pyproject.toml; needs uv
	echo 'setuptools>=80' | uv pip compile -q --universal --python-version 3.11 --generate-hashes \
		--no-annotate --no-header - -o requirements/build.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		pyproject.toml -o requirements/gateway.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra embedded pyproject.toml -o requirements/embedded.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
		--extra dev pyproject.toml -o requirements/dev.txt

clean:
	rm -rf $(VENV) $(OUT) build *.egg-info
