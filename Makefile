# Everything that people do daily. `make demo` and `make test` each work on a fresh clone.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

.PHONY: help demo test test-processors calibration lint format bench peers gpu picture clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*  ## /\1	/p' $(MAKEFILE_LIST) | expand -t 18

demo: $(VENV)/.core  ## run the shipped suite `demo`, say its verdict, write reports/demo.html
	$(BIN)/wgfbench run demo
	$(BIN)/wgfbench verdict demo
	$(BIN)/wgfbench report demo

test: $(VENV)/.dev  ## run all tests (RESEED=n: on other random draws)
	$(if $(RESEED),RESEED=$(RESEED) )OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadgroup

test-processors: $(VENV)/.dev  ## run what is mathematics under several instruction sets (SHORT=1: a minute's worth)
	$(BIN)/python scripts/processors.py $(if $(SHORT),--short)

calibration: $(VENV)/.dev  ## repeat thousands of times what claims coverage, spread or no bias (RESEED=n as well)
	$(if $(RESEED),RESEED=$(RESEED) )OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 -m calibration

lint: $(VENV)/.dev  ## check style, types and who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## put the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev  ## run the benchmarks here (BENCH=regex: only some), and print what is promised
	$(BIN)/asv machine --yes >/dev/null
	$(BIN)/asv run --python=same --set-commit-hash=HEAD --show-stderr $(if $(BENCH),--bench '$(BENCH)'); \
	    ran=$$?; $(BIN)/python -m benchmarks.bounds && exit $$ran

peers: $(VENV)/.peers  ## install the libraries that docs/peers.md compares with, and run what is tested of them
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/solvers/peers

gpu: $(VENV)/.dev  ## run what needs a CUDA device: tests, a sweep of minutes into results/reference/, benchmarks
	$(BIN)/pytest -m gpu
	$(BIN)/wgfbench run gpu --device cuda
	$(BIN)/wgfbench export gpu -o results/reference/gpu.csv
	$(MAKE) bench BENCH=icnn_on_gpu

picture: $(VENV)/.core  ## make docs/report.png again: the page of `demo`, from a commit without changes (needs chromium)
	$(BIN)/python scripts/picture.py

clean:  ## remove what was installed and generated, but no results
	rm -rf $(VENV) .asv .pytest_cache .mypy_cache .ruff_cache .grimp_cache .import_linter_cache build *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "wgfbench needs Python 3.11 or newer; try: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e '.[dev]'
	touch $@ $(VENV)/.core

# particles asks for NumPy below 2, JAX for one above; it runs with the newer, so it comes last and without a say.
$(VENV)/.peers: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install -c constraints.txt -e '.[dev,peers]'
	$(PIP) install -c constraints.txt --no-deps particles
	touch $@ $(VENV)/.dev $(VENV)/.core
