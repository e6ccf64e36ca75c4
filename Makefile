PYTHON ?= python3
NEWEST_PYTHON ?= python3.13
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart

.PHONY: quickstart test test-slow test-newest lint

# One environment with everything a developer needs, from one tested set of versions.
$(VENV): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,demo,test,torch]'
	touch $(VENV)

# Photographs and the network that comes with the package; then a short training on rendered crowds.
# Figures, pictures and two pages go into $(RUN).
PHOTOGRAPHS := --annotations docs/examples/person_keypoints_examples.json --images docs/examples
CROWDS := --annotations $(RUN)/crowds/annotations/person_keypoints_val.json --images $(RUN)/crowds/val
quickstart: $(VENV)
	rm -rf $(RUN)
	$(BIN)/pinet-jax predict docs/examples/*.jpg --out $(RUN)/poses
	$(BIN)/pinet-jax evaluate $(PHOTOGRAPHS) --out $(RUN)/photographs.json \
	  --report $(RUN)/photographs.html
	$(BIN)/pinet-jax synthesize --out $(RUN)/crowds --split val --seed 1 --images 100
	$(BIN)/pinet-jax train --config synthetic_shallow --workdir $(RUN)/training \
	  --training.epochs 2.5 --loop.evaluate-every 0
	@echo "The short training's network, on crowds that it has never seen:"
	$(BIN)/pinet-jax evaluate --checkpoint $(RUN)/training --config synthetic_shallow $(CROWDS) \
	  --out $(RUN)/crowds.json --report $(RUN)/crowds.html
	@echo "Drawn poses: $(RUN)/poses; the pages to look at: $(RUN)/photographs.html, $(RUN)/crowds.html"

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pinet_jax data_pipelines experiments

test: lint
	$(BIN)/pytest -n 2

test-slow: $(VENV)
	$(BIN)/pytest -m slow

# The suite with the newest versions of everything that pip gives, on the newest Python.
NEWEST := .venv-newest
test-newest: pyproject.toml
	$(NEWEST_PYTHON) -m venv --clear $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --upgrade -e '.[data,test,torch]'
	$(NEWEST)/bin/pytest -n 2
