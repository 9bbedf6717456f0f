# Two commands on a bare machine with Python 3.11 or newer:
#   make demo    denoise examples/noisy with the bundled model and say where to look
#   make test    the whole check: linter, types, layers, tests
# A Python of your choice: make demo PYTHON=/path/to/python3.12

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# Clean pictures to measure on: the project's 24 validation crops, or any folder of PNG pictures.
CLEAN ?= ../shared/data/photos/val
BIN := .venv/bin
# Python compiles a module when it is first imported; to compile all that is installed takes a minute.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-compile -c constraints.txt
READY := .venv/ready
BENCH := .venv/ready-bench

.PHONY: help demo test bench-speed bench-small bench-quality architectures models-table dist clean

help:
	@echo 'make demo            denoise examples/noisy into demo-out'
	@echo 'make test            linter, types, layers and tests'
	@echo 'make bench-speed     measure speed against other denoisers (CLEAN=folder of clean PNG pictures)'
	@echo 'make bench-small     measure the speed on many small pictures'
	@echo 'make bench-quality   measure quality against other denoisers (CLEAN=folder)'
	@echo 'make architectures   measure all bundled models, into examples/architectures.md (CLEAN=folder)'
	@echo 'make models-table    write the table of bundled models into the README'
	@echo 'make dist            build the sdist, and the wheel from it'
	@echo 'make clean           remove the environment and everything built'

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer is needed; name one: make demo PYTHON=/path/to/python3.12'; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) torch
	$(PIP) -e '.[dev]'
	@touch $@

$(BENCH): $(READY)
	$(PIP) -e '.[bench]'
	@touch $@

demo: $(READY)
	$(BIN)/denoiser run examples/noisy demo-out --model unet --exists overwrite
	$(BIN)/python examples/before_after.py examples/noisy demo-out demo-out/before-after.png

test: $(READY)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

bench-speed: $(BENCH)
	$(BIN)/python examples/bench_speed.py $(CLEAN)

bench-small: $(READY)
	$(BIN)/python examples/bench_small.py

bench-quality: $(BENCH)
	$(BIN)/python examples/bench_quality.py $(CLEAN) --bm3d-every 4

architectures: $(READY)
	$(BIN)/python examples/architectures.py $(CLEAN)

models-table: $(READY)
	$(BIN)/python examples/models_table.py

dist: $(READY)
	$(BIN)/python -m build

clean:
	rm -rf .venv demo-out dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
