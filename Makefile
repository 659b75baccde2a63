# make demo   installs, runs the main job and serves the app (SERVE=0: without the app)
# make test   installs and runs every test (make test-fast: without the slow ones)
# make check  format, lint, types, import direction
# make bench NAME=detection   one benchmark
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed
SERVE ?= 1
PORT ?= 8501
NAME ?=
# Tests beside each other: each of them takes up to 3 GiB. Threads of two that wait for each other's cores are several times slower
# than one thread each, and libraries look at their number when they are imported.
JOBS ?= 2
THREADS ?= $(shell cores=$$(getconf _NPROCESSORS_ONLN); echo $$((cores > $(JOBS) ? cores / $(JOBS) : 1)))
TESTS = OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

# Bytecode is written here, whatever the machine's setting: without it each process would compile 4,000 files anew, for 14 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test test-fast check format bench clean

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
	$(TESTS)

test-fast: install
	$(TESTS) -m "not slow"

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python -m mypy
	$(BIN)/python -m pytest -q tests/test_imports.py

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install
	@test -n "$(NAME)" || { echo "Say which: make bench NAME=detection. There are:"; ls benchmarks | grep -v '^_' | sed -n 's/\.py$$//p'; exit 2; }
	$(BIN)/python -m benchmarks.$(NAME)

clean:
	rm -rf .venv studies report.html report-steer.html
