# PYTHON=       interpreter for .venv (default: that of an existing .venv, else python3)
# DEVICE=       cpu or cuda, the torch build (default: that of an existing .venv, else cuda where a driver answers)
# STACK=        onedl, or openmmlab for setup and test with the original packages, in .venv-openmmlab (default: onedl)
# TORCH_INDEX=  package index to take torch from besides pip's own settings
# FIND_LINKS=   folder or page of further wheels, besides pip's own settings
# FRESH=        1 starts the demo over
# SEED=         seed of the demo (default 0)
# ARGS=         further arguments for pytest, as in make test ARGS='-k windows -x -n 0'

VENV := $(if $(filter openmmlab,$(STACK)),.venv-openmmlab,.venv)
BASE_PYTHON := $(or $(PYTHON),$(wildcard $(VENV)/bin/python),python3)

export STACK DEVICE TORCH_INDEX FIND_LINKS

# The modules that the API reference shows, beside the package's own page.
PARTS := models checkpoint registry engine.hooks evaluation.metrics evaluation.class_iou

.DEFAULT_GOAL := help
.PHONY: help setup test lint format demo docs

help: ## show this list
	@sed -n 's/^# \([A-Z_]*=.*\)/  \1/p; s/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## make the environment with the pinned stack and this package, and check it
	@'$(BASE_PYTHON)' -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "setup: '$(BASE_PYTHON)' does not run or is not Python 3.10 to 3.13." \
			"Name another: make setup PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@'$(BASE_PYTHON)' tools/setup_env.py

# Extras that the tests need: the runtimes of tools/export.py, and mmpretrain.
EXTRAS := $(patsubst %,requirements/%.txt,imagenet onnx openvino coreml executorch)

.venv/extras: requirements/onedl.txt $(EXTRAS) | setup
	.venv/bin/python -m pip install $(FIND_LINKS:%=--find-links %) -c requirements/onedl.txt torch $(EXTRAS:%=-r %)
	touch $@

# Two processes, since most of the time is toolboxes being imported; their idle threads leave the cores to each other.
test: setup $(if $(filter .venv,$(VENV)),.venv/extras) ## run the whole test suite
	OMP_WAIT_POLICY=passive $(VENV)/bin/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: setup ## check format and lint with ruff
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

format: setup ## let ruff format the code and fix what it can
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

demo: setup ## train and evaluate on an embedded data set, with pictures
	.venv/bin/python tools/demo.py $(if $(filter-out 0,$(FRESH)),--fresh) $(if $(SEED),--seed $(SEED))

docs: setup ## build the API reference from the docstrings, into docs/api
	rm -rf docs/api
	.venv/bin/python -W error::UserWarning -m pdoc --docformat google --output-directory docs/api \
		mmiformer '!mmiformer\.' $(PARTS:%=mmiformer.%)
