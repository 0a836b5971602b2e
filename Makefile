# Everything runs in its own virtual environment; `make VENV=path` puts it elsewhere.
VENV ?= .venv
PYTHON ?= python3
EXTRAS ?= test
BIN := $(VENV)/bin

.PHONY: demo test slow lowest lint types check docs clean

demo: $(VENV)/installed
	$(BIN)/sqp demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2

slow: $(VENV)/installed
	$(BIN)/python -m pytest -m slow

lowest:
	PYTHON=$(PYTHON) scripts/lowest_versions.sh

lint: $(VENV)/installed
	$(BIN)/ruff check sqp studies tests scripts
	$(BIN)/ruff format --check sqp studies tests scripts

types: $(VENV)/installed
	$(BIN)/mypy sqp

docs: $(VENV)/docs-installed
	$(BIN)/mkdocs build --strict

$(VENV)/docs-installed: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	touch $@

check: lint types test

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(VENV) sqp-demo site
