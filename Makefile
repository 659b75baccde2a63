# make demo   installs, runs the main job and serves the app (SERVE=0: without the app)
# make test   installs and runs every test (make test-fast: without the slow ones)
# make test-full  every case of the tests that run a sample of their cases each time
# make fuzz SECONDS=60   changed files for every reader of what comes from elsewhere; cases that fail are kept
# make lock   writes constraints.txt: the version of every package that is tested together
# make test-latest   the fast tests with the newest release of everything, upper bounds left out
# make check  format, lint, types, import direction
# make bench NAME=detection   one benchmark
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
SERVE ?= 1
PORT ?= 8501
NAME ?=
SECONDS ?= 60
# Tests beside each other: each of them takes up to 3 GiB. Threads of two that wait for each other's cores are several times slower
# than one thread each, and libraries look at their number when they are imported.
JOBS ?= 2
THREADS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores > $(JOBS) ? cores / $(JOBS) : 1)))
TESTS = OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# Bytecode is written here, whatever the machine's setting: without it each process would compile 4,000 files anew, for 14 s.
unexport PYTHONDONTWRITEBYTECODE

# The CPU build of torch of this version is the one that is tested. Without it pip may choose a newer build that brings several
# gigabytes of CUDA libraries.
VERSIONS := torch|transformers|transformer-lens|sae-lens|scikit-learn|numpy|pandas|streamlit|plotly|duckdb|pyarrow|tokenizers
TORCH := torch==2.13.0
LATEST := .venv-latest/bin

.PHONY: install demo lock test test-fast test-full fuzz test-latest check format bench clean

install: $(STAMP)

# The pip that comes with Python 3.11 takes three times as long, and most of what it would compile is never imported: what is, is
# compiled by importing it once.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Concept Workbench needs Python 3.11 or 3.12; run make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -c 'import plotly.graph_objects, sae_lens, sklearn.linear_model, streamlit.web.bootstrap, transformer_lens.model_bridge'
	touch $(STAMP)

demo: install
	$(BIN)/workbench demo $(if $(filter 0,$(SERVE)),--no-serve,--serve --port $(PORT))

test: install
	@$(BIN)/python -m pip list --format freeze --disable-pip-version-check | grep -iE '^($(VERSIONS))=='
	$(TESTS)

test-fast: install
	$(TESTS) -m "not slow"

test-full: install
	WORKBENCH_FULL=1 $(TESTS) -m full

fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzz --seconds $(SECONDS) --processes $(JOBS)

lock:
	rm -rf .venv-lock && $(PYTHON) -m venv --upgrade-deps .venv-lock
	.venv-lock/bin/python -m pip install --no-compile --quiet --disable-pip-version-check --editable '.[dev]' $(TORCH)
	{ echo '# Written by `make lock`: what `make install` installs and the tests run with.'; \
	  .venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf .venv-lock

# Upper bounds are left out, and exact versions become lower bounds; torch stays at the tested build (make test-latest TORCH=torch).
test-latest:
	rm -rf .venv-latest && $(PYTHON) -m venv --upgrade-deps .venv-latest
	$(PYTHON) -c 'import re, tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	  print(*(re.sub(r",?<[^,]+", "", d).replace("==", ">=") for d in p["dependencies"] + p["optional-dependencies"]["dev"]), sep="\n")' \
	  > .venv-latest/requirements.txt
	$(LATEST)/python -m pip install --no-compile --quiet --disable-pip-version-check --requirement .venv-latest/requirements.txt $(TORCH)
	$(LATEST)/python -m pip install --no-compile --quiet --disable-pip-version-check --no-deps --editable .
	$(LATEST)/python -m pip list --format freeze | grep -iE '^($(VERSIONS))=='
	OMP_NUM_THREADS=$(THREADS) $(LATEST)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -q -s tests/test_imports.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	@test -n "$(NAME)" || { echo "Say which: make bench NAME=detection. There are:"; ls benchmarks | grep -v '^_' | sed -n 's/\.py$$//p'; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

clean:
	rm -rf .venv .venv-latest .venv-lock studies report.html report-steer.html
