# make demo   run the bundled model on sample images and show where the pictures are
# make test   linters, types, import order, tests
# make bench  time everything and write docs/speed.md
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test bench clean

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/test: .venv/base
	$(PIP) -e '.[test]'
	@touch $@

demo: .venv/base
	$(BIN)/segue data make cells --count 6 --out demo/images
	$(BIN)/segue predict demo/images --model nuclei --out demo/results
	@echo "The pictures are in demo/results: open any of its *.png files."

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --include="src/segue/ops/*,src/segue/structures/*,src/segue/metrics/*" --fail-under=90

bench: .venv/base
	$(BIN)/python -m benchmarks --out docs/speed.md

clean:
	rm -rf .venv demo
