# Each target sets up what it needs: a .venv beside this file, made once.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
SOURCES := pyproject.toml setup.py constraints.txt
# A sourced ROS would put its own Python packages before those of .venv.
unexport PYTHONPATH

.PHONY: demo test lint faults fuzz soak docs clean

demo: $(VENV)/.base
	$(BIN)/hand-mesh demo $(ARGS)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/python tools/audit.py

# Minutes to hours: faults around running programs, a million malformed inputs, a million frames.
faults: $(VENV)/.dev
	$(BIN)/python tools/faults.py $(ARGS)

fuzz: $(VENV)/.dev
	$(BIN)/python tools/fuzz.py $(ARGS)

soak: $(VENV)/.dev
	$(BIN)/python tools/soak.py $(ARGS)

docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info

# The first Python that mediapipe and ROS both have wheels for; override with make PYTHON=...
$(BIN)/python:
	@set -e; for python in $(PYTHON) python3.11 python3.12 python3.10 python3; do \
	  if $$python -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; \
	  then echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); fi; done; \
	echo "hand_mesh_ros needs Python 3.10, 3.11 or 3.12 with venv; none was found" \
	  "(install one, or name it: make PYTHON=/path/to/python3.11)" >&2; exit 1

$(VENV)/.base: $(BIN)/python $(SOURCES)
	$(PIP) install --constraint constraints.txt --editable .[viewer]
	touch $@

$(VENV)/.dev: $(VENV)/.base
	$(PIP) install --constraint constraints.txt --editable .[dev,train,onnx,viewer]
	touch $@

$(VENV)/.docs: $(VENV)/.base
	$(PIP) install --constraint constraints.txt --editable .[docs]
	touch $@
