# `make lab` and `make test` set up everything they need, on a fresh machine too; `make help` says more.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help lab setup-test test check format docs pins clean

# A virtual environment of this checkout, made by the first of these that is 3.11 or newer and has venv.
PYTHON ?=
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3 python
VENV := .venv
PY := $(VENV)/bin/python

# Which torch: see `make help`. Empty: the CPU build the first time, later the one chosen before.
TORCH ?=
PORT ?=
ARGS ?=
SETUP = $(PY) -m scripts.setup_env --torch '$(TORCH)'

# Settings and runtime files of `make lab` stay in this checkout.
JUPYTER_HOME := $(CURDIR)/$(VENV)/var/jupyter
OWN_JUPYTER := JUPYTER_CONFIG_DIR=$(JUPYTER_HOME)/config JUPYTER_DATA_DIR=$(JUPYTER_HOME)/data \
	JUPYTER_RUNTIME_DIR=$(JUPYTER_HOME)/runtime IPYTHONDIR=$(JUPYTER_HOME)/ipython
QUICKSTART := notebooks/quickstart.ipynb
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

help:
	@echo "make lab               open JupyterLab on the quickstart"
	@echo "  PORT=8890            on this port"
	@echo "  ARGS='--no-browser'  more options for jupyter lab"
	@echo "make test              every check and test: ruff, mypy, the front end, pytest with a browser and the notebooks"
	@echo "  ARGS='-k panel'      more options for pytest; --no-cov with them, where a part cannot reach the floor"
	@echo "make check             the checks without the tests"
	@echo "make format            format the Python code"
	@echo "make docs              API pages in build/docs"
	@echo "make pins              constraints.txt and environment.yml from what is installed"
	@echo "make clean             remove what was built, and the virtual environment"
	@echo
	@echo "TORCH=cpu              the CPU build of torch (what you get the first time)"
	@echo "TORCH=cu130            a build from PyTorch's own index: cu126, cu128, rocm6.4, xpu, ..."
	@echo "TORCH=default          whatever build pip finds        TORCH=none   no torch, no scikit-learn"
	@echo "PYTHON=/path/python    the Python 3.11 or newer to make $(VENV) with"

$(PY):
	@for python in $(PYTHONS); do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "resmon: making $(VENV) with $$($$python -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "resmon: needs Python 3.11 or newer with its venv module (on Debian: apt install python3-venv);" \
		"none of these is: $(PYTHONS). Name one with PYTHON=/path/to/python3" >&2; \
	exit 1

lab: | $(PY)
	@$(SETUP) lab
	@$(OWN_JUPYTER) $(PY) -m jupyterlab $(QUICKSTART) --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/$(QUICKSTART) $(AS_ROOT) $(if $(PORT),--port=$(PORT)) $(ARGS)

setup-test: | $(PY)
	@$(SETUP) test

# The cheapest first; the tests come last, so that pytest's own last line is the last line.
check: setup-test
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy
	$(PY) -m scripts.bundle --packages
	cd widgets && npm run --silent check && npm run --silent test

test: check
	$(PY) -m pytest --nbval --nbval-current-env --cov=resmon $(ARGS)

format: setup-test
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

docs: | $(PY)
	@$(SETUP) docs
	$(PY) -m pdoc resmon --output-directory build/docs

pins: setup-test
	@$(SETUP) docs
	$(PY) -m scripts.pins

clean:
	rm -rf $(VENV) resmon/static widgets/node_modules dist build test-results .coverage .mypy_cache .ruff_cache .pytest_cache
