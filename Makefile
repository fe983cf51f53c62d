# make demo: from nothing to verified firmware.  make test: lint, types, tests.
# Both need python3 (3.11 or newer) with venv, gcc and make; everything else comes from pip into .venv.
# Another Python: make PYTHON=python3.12 test.  The CPU build of PyTorch, where PyPI's is the large CUDA one:
#   make PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" demo

PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
JOBS ?= 2
PYTEST_FLAGS ?=
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_FLAGS)
DESCRIBED := pyproject.toml setup.py constraints.txt

.PHONY: demo test test-slow lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/search.stamp
	$(BIN)/mcuc build --budget 320KB -o demo_out
	@echo "The report: $(CURDIR)/demo_out/report.html"

test: $(VENV)/dev.stamp lint
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not slow" -rfEs $(PYTEST_FLAGS)

# The few tests that take longest: large models, more boards, every budget of a front.
test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m slow -rfEs $(PYTEST_FLAGS)

lint: $(VENV)/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m mypy

$(VENV)/search.stamp: $(VENV)/venv.stamp $(DESCRIBED)
	$(INSTALL) -e '.[search]'
	@touch $@

$(VENV)/dev.stamp: $(VENV)/venv.stamp $(DESCRIBED)
	$(INSTALL) -e '.[dev,search]'
	@touch $@ $(VENV)/search.stamp

$(VENV)/venv.stamp:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mcuc needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) demo_out
