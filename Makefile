# Every command of the project. What they do is in scripts/harness; `make help` lists them.

# The interpreter of the commands that need one. Empty: scripts/harness.sh chooses.
PYTHON ?=
# What `make build` and `make demo` build with: release, or quick for the edit-and-try loop (never benchmarked).
PROFILE ?= release
# Passed on by `make bench`: BENCH="--quick --cases 'timers*'".
BENCH ?=

HARNESS = PYTHON="$(PYTHON)" scripts/harness.sh

.DEFAULT_GOAL := help
.PHONY: help demo build test test-quick lint bench clean

help:
	@echo "make demo        a real web application on stock asyncio, then on pyloop; sets up .venv first (about 3 minutes)"
	@echo "make test        everything that guards the project, on every CPython found (prints how long it takes)"
	@echo "make test-quick  the behaviour tests on one Python (PYTHON=...)"
	@echo "make lint        formatting, lints, layers, types"
	@echo "make bench       pyloop against stock asyncio and every peer that installs (BENCH=... passes options on)"
	@echo "make build       .venv with pyloop in it, editable (PYTHON=..., PROFILE=quick)"
	@echo "make clean       removes all of these: .venv, .cache, target (examples/rust_futures/target too), dist"
	@echo
	@echo "An interpreter that is not found by itself: PYLOOP_PYTHONS=/path/to/python make test"

demo:
	@$(HARNESS) demo --profile $(PROFILE)

build:
	@$(HARNESS) build --profile $(PROFILE)

test:
	@$(HARNESS) test

test-quick:
	@$(HARNESS) test-quick

lint:
	@$(HARNESS) lint

bench:
	@$(HARNESS) bench -- $(BENCH)

clean:
	rm -rf .venv .cache target examples/rust_futures/target dist .pytest_cache .mypy_cache .ruff_cache .benchmarks
	rm -f python/pyloop/_pyloop.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
