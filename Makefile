# Everything a newcomer, a reader of papers or a continuous-integration job needs.
# `make run` and `make test` set up what they need and may be repeated at any time.

PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs
PRESET ?= cpu

# Two workers; each takes whole files, in the order of tests/conftest.py.
WORKERS := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: setup run test test-fast test-all test-browser chaos bench aot check format figures report claims scorecard pins

setup: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt
	@touch $@

# The main job: the headline study.
run: setup
	$(BIN)/rdt sweep experiments/depth_by_decay --preset=$(PRESET) --workdir=$(WORKDIR)

test: setup
	$(BIN)/python -m pytest -q $(WORKERS) -m "not exhaustive and not tpu and not browser"

test-fast: setup
	$(BIN)/python -m pytest -q $(WORKERS) -m "not slow and not exhaustive and not tpu and not browser"

# With the tests that need many minutes.
test-all: setup
	$(BIN)/python -m pytest -q $(WORKERS) -m "not tpu and not browser"

# The report in a real browser: a Chromium of this machine (CHROMIUM names another).
test-browser: .venv/.browser
	@$(BIN)/python -m tests.report.chromium
	$(BIN)/python -m pytest -q -m browser tests/report

.venv/.browser: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[browser]' -c constraints.txt
	@touch $@

# 200 kills at random moments and 100 damaged checkpoints; `make test` does 2 and 20.
# Then 50 sweeps in a bucket of an S3 emulator, with kills and outages (about 1 h).
chaos: setup
	$(BIN)/python -m tests.chaos --kills 200 --flips 100 --sweeps 50

# Training throughput on this CPU; TORCH_PYTHON, a Python with torch and transformers,
# adds the comparison with PyTorch.
bench: setup
	$(BIN)/rdt bench $(if $(TORCH_PYTHON),--torch-python=$(TORCH_PYTHON))

# What the paper's runs cost on TPU chips, told by the TPU compiler on this machine, in
# an environment of its own (2 GB); then the tests of that.
aot: .venv-tpu/.installed
	.venv-tpu/bin/rdt aot --config=configs/knowledge_composition.py:paper --topology=v5e:4x4
	.venv-tpu/bin/rdt aot --config=configs/knowledge_composition.py:paper --topology=v4:2x2x1 --mesh=data=2,model=2
	.venv-tpu/bin/rdt aot --config=configs/knowledge_depth.py:paper --topology=v5e:4x4
	.venv-tpu/bin/rdt aot --config=configs/modular.py:paper --topology=v6e:1x1
	.venv-tpu/bin/python -m pytest -q -m tpu tests/profile/test_aot.py

.venv-tpu/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-tpu
	.venv-tpu/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev,tpu]' -c constraints.txt
	@touch $@

# Format, lint, types, and the direction of imports.
check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers_flow.py

format: setup
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

# `make fig-<study>` draws the figures of a study again, from its run folders.
fig-%: setup
	$(BIN)/rdt figures experiments/$* --preset=$(PRESET) --workdir=$(WORKDIR)

# Those of all studies that have runs of the preset.
figures: $(patsubst $(WORKDIR)/sweeps/%-$(PRESET)/plan.json,fig-%,$(wildcard $(WORKDIR)/sweeps/*-$(PRESET)/plan.json))

# One page of all sweeps, to look at in a browser or to send: $(WORKDIR)/report.html.
report: setup
	$(BIN)/rdt report --workdir=$(WORKDIR) --out=$(WORKDIR)/report.html

# The scorecard of the published claims, over all studies that have runs.
claims: setup
	$(BIN)/rdt claims --workdir=$(WORKDIR)

# The same, kept in this repository: docs/scorecard.md, and results.csv of each study.
scorecard: setup
	$(BIN)/rdt claims --workdir=$(WORKDIR) --write=docs/scorecard.json

# Resolves the pins again; the file names versions only, never an index.
pins: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra browser --extra s3 --extra gcs --universal --python-version 3.11 --no-annotate --no-header --quiet -o constraints.txt
