PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/quickstart

.PHONY: quickstart test test-slow lint

# One environment with everything a developer needs, from one tested set of versions.
$(VENV): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[data,test,torch]'
	touch $(VENV)

# A short training on rendered crowds, its figures and pictures; everything goes into $(RUN).
quickstart: $(VENV)
	rm -rf $(RUN)
	$(BIN)/pinet-jax synthesize --out $(RUN)/crowds --split val --seed 1 --images 50 \
	  --people 1 3 --overlap 0.2 --size 128
	$(BIN)/pinet-jax train --config synthetic_tiny --workdir $(RUN)/training \
	  --training.epochs 3 --loop.evaluate-every 0
	$(BIN)/pinet-jax evaluate --checkpoint $(RUN)/training --config synthetic_tiny \
	  --metric coco --input-size 128 \
	  --annotations $(RUN)/crowds/annotations/person_keypoints_val.json \
	  --images $(RUN)/crowds/val --out $(RUN)/metrics.json --report $(RUN)/report.html
	$(BIN)/pinet-jax predict $(RUN)/crowds/val --checkpoint $(RUN)/training \
	  --input-size 128 --out $(RUN)/poses
	@echo "The page to look at: $(RUN)/report.html"

lint: $(VENV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy pinet_jax data_pipelines experiments

test: lint
	$(BIN)/pytest -n 2

test-slow: $(VENV)
	$(BIN)/pytest -m slow
