# Pneumoscope. `make help` lists what there is; nothing needs to be done before any of it.

VENV   ?= .venv
BIN    := $(VENV)/bin
# The first Python that will do: 3.11 to 3.13 (TensorFlow has no wheels for others), able to make environments.
# `make PYTHON=/path/to/python` names one.
WILL_DO := -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.13 python; do \
	"$$python" $(WILL_DO) && { command -v "$$python"; break; }; done)
PIP    := $(BIN)/python -m pip install --disable-pip-version-check --quiet --progress-bar off
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run test test-browser lint format benchmark clean

help:  ## list the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

setup: $(VENV)/.installed  ## make the environment (.venv); does nothing where it is up to date

setup-dev: $(VENV)/.installed-dev  ## the same with what tests and checks need

run: setup  ## start the app on http://127.0.0.1:8501 with the released model
	$(BIN)/python -m streamlit run app.py

test: setup-dev  ## run all tests but those in a browser; ARGS="-k films" picks some
	$(PYTEST) -m "not browser" --numprocesses=auto --maxprocesses=4 --dist=loadscope $(ARGS)

test-browser: setup-dev  ## run the tests that drive a real Chromium (Debian: apt install chromium)
	$(PYTEST) -m browser $(ARGS)

lint: setup-dev  ## check style, format and types, the shell script and the Dockerfile
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck .ci/run
	$(BIN)/hadolint Dockerfile

format: setup-dev  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup  ## measure the network beside plain Keras, and a move of the threshold on the Metrics screen
	$(BIN)/python -m model benchmark $(ARGS)
	$(BIN)/python -m utils.screen_benchmark

clean:  ## remove the environment and the tools' caches; the state in var/ stays
	[ ! -e "$(VENV)/pyvenv.cfg" ] || rm -rf "$(VENV)"
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are written last, so that an installation cut short is taken up again. An environment whose Python
# is gone (an upgrade, a moved checkout) is made anew; a folder that is no environment is never emptied.
$(VENV)/.installed: requirements.txt
	@if ! "$(PYTHON)" $(WILL_DO); then \
		echo "Pneumoscope needs Python 3.11, 3.12 or 3.13 with venv: install it" \
			"(Debian, Ubuntu: apt install python3-venv) or name one with 'make PYTHON=/path/to/python'." >&2; \
		exit 1; fi
	@"$(BIN)/python" -c 'import pip' 2>/dev/null || \
		"$(PYTHON)" -m venv $$([ ! -e "$(VENV)/pyvenv.cfg" ] || echo --clear) "$(VENV)"
	@echo "Installing what Pneumoscope needs into $(VENV): about 3 GB, a few minutes the first time."
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) -r requirements-dev.txt
	@touch $@
