# Each target does its own set-up. What is done already is not done again until pyproject.toml changes.
#   make demo [ARGS=--check]   a gateway with sample backends on loopback; no Docker needed
#   make test [ARGS=...]       linters, types, layers, the whole suite (ARGS go to pytest); core and demo on every other Python here
#   make test-all [ARGS=...]   the same, and the tests of core, adapters and architecture on every other Python here
#   make fresh-machine         both commands of README in a bare Debian, as root (scripts/fresh-machine)
#   make bench [ARGS=...]      the benchmark beside nginx, HAProxy, Envoy, Caddy and Traefik
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-all tests lint bench parts fresh-machine clean

ARGS ?=
VENV := .venv
BIN := $(VENV)/bin

help:
	@sed -n 's/^#   //p' Makefile

$(VENV)/.gateway: pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV) gateway
	@touch $@

$(VENV)/.dev: pyproject.toml scripts/make-venv
	@scripts/make-venv $(VENV) dev
	@touch $@ $(VENV)/.gateway

$(VENV)/.bench: $(VENV)/.dev tests/benchmarks/requirements.txt
	@scripts/quietly $(BIN)/python -m pip install --disable-pip-version-check -r tests/benchmarks/requirements.txt
	@touch $@

demo: $(VENV)/.gateway
	@$(BIN)/python -m examples.demo $(ARGS)

parts:
	@scripts/install-parts

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/basedpyright
	PYTHONPATH=.:adapters $(BIN)/lint-imports

# The core's tests run once, where what they cover is measured; again only if ARGS names them.
tests: parts lint
	$(BIN)/python tests/architecture/module_coverage.py
	$(if $(ARGS),$(BIN)/python -m pytest $(ARGS),$(BIN)/python scripts/run-tests)

test: tests
	@scripts/other-pythons core

test-all: tests
	@scripts/other-pythons all $(ARGS)

fresh-machine:
	scripts/fresh-machine $(ARGS)

bench: parts $(VENV)/.bench
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

clean:
	rm -rf $(VENV) $(VENV)-3.* build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
