# Every target sets up what it needs in .venv first.
PYTHON ?= python3
BUDGET ?= 200
# The study that was written to last; a running search writes beside study.db.
STUDY ?= $(shell ls -td results/*/study.db* 2>/dev/null | head -1 | sed 's/db-.*/db/')
PORT ?= 8080
ARGS ?=

.PHONY: setup search test test-slow test-faults check docs bench dashboard clean

setup: .venv/.test

# What a search and a retraining need; pip shows its progress, since PyTorch takes minutes.
.venv/.run: pyproject.toml setup.py
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --editable .
	touch $@

# One of the extras of pyproject.toml on top of it.
.venv/.%: .venv/.run
	.venv/bin/python -m pip install --quiet --editable '.[$*]'
	touch $@

search: .venv/.run
	.venv/bin/python runners/search.py --budget $(BUDGET) $(ARGS)

test: .venv/.test
	.venv/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

test-slow: .venv/.test
	.venv/bin/python -m pytest -q -m slow $(ARGS)

# Goes on where it was cut; the figures are in build/faults/.
test-faults: .venv/.test
	.venv/bin/python -m pytest -q -m faults tests/faults $(ARGS)

check: .venv/.test docs
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy

# build/docs/index.html; the pages need no network. Fails on a broken link.
docs: .venv/.docs
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

bench: .venv/.benchmarks
	.venv/bin/python runners/benchmark.py sampler $(ARGS)

dashboard: .venv/.run
	@test -n "$(STUDY)" || { echo "no study in results/; run: make search" >&2; exit 2; }
	@echo "http://127.0.0.1:$(PORT)/dashboard/ opens once Python has loaded the dashboard (seconds)"
	@.venv/bin/optuna-dashboard --host 127.0.0.1 --port $(PORT) sqlite:///$(abspath $(if $(filter %.db,$(STUDY)),$(STUDY),$(STUDY)/study.db))

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
