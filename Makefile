# make demo   the bundled models on pictures made for it, and a page with all that they see
# make test   linters, types, import order, tests
# make docs   the documentation as a site in site/, with the lecture and the reference
# make bench  time everything and write docs/speed.md
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test docs bench clean

.venv/base: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	@touch $@

.venv/test: .venv/base
	$(PIP) -e '.[test]'
	@touch $@

.venv/bench: .venv/base
	$(PIP) -e '.[bench]'
	@touch $@

.venv/docs: .venv/base
	$(PIP) -e '.[docs]'
	@touch $@

demo: .venv/base
	$(BIN)/segue demo --out demo

test: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --include="src/segue/ops/*,src/segue/structures/*,src/segue/metrics/*" --fail-under=90

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "The site is in site/: open site/index.html, or $(BIN)/python -m http.server -d site, with which it can be searched."

bench: .venv/bench
	$(BIN)/python -m benchmarks --out docs/speed.md

clean:
	rm -rf .venv demo site
