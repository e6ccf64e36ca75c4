PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: quickstart test test-slow lint

# One environment with everything a developer needs, from one tested set of versions.
$(VENV): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,test,torch]'
	touch $(VENV)

quickstart: $(VENV)
	$(BIN)/pinet-jax predict --help

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pinet_jax data_pipelines experiments

test: lint
	$(BIN)/pytest -n 2

test-slow: $(VENV)
	$(BIN)/pytest -m slow
