# The front door: each target works on a fresh clone with only Python, make and a package index.
# Say `make demo PYTHON=/path/to/python` to choose the Python of a new environment,
# and `make demo ARGS='--data DIR'` to hand arguments on.

VENV := .venv
PYTHON :=
ARGS :=
JOBS := 2
MARKS := not (slow or network or gpu or browser)
WHEELHOUSE := wheelhouse

RUN := $(VENV)/bin/python -m
INSTALLED := $(VENV)/installed
# Where `make wheelhouse` has been, only itself still asks a package index.
GATHERED := $(if $(filter wheelhouse,$(MAKECMDGOALS)),,$(wildcard $(WHEELHOUSE)))
PIP := $(RUN) pip install $(if $(GATHERED),--no-index --find-links '$(GATHERED)')

.PHONY: help demo test test-all test-browser gpu cpu notebook book slides wheelhouse clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r target does; do \
		printf '  make %-12s %s\n' "$$target" "$$does"; done

demo: $(INSTALLED)  ## pretrain, fine-tune and judge a small BERT on the embedded sample (about three minutes)
	$(RUN) bertnli demo $(ARGS)

test: $(INSTALLED)  ## lint, format, doctests and every quick test, two files at a time
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) pytest -n $(JOBS) --dist loadfile -m '$(MARKS)' $(ARGS)

test-all: $(INSTALLED)  ## the slow tests too, then `make test` on the other Pythons of this machine
	-$(PIP) --quiet --editable '.[fuzz]'
	$(MAKE) test JOBS=0 MARKS='not (network or gpu or browser)'
	@own=$$($(VENV)/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	sh .ci/pythons | while read -r version python; do \
		test "$$version" = "$$own" || \
			$(MAKE) test VENV=".venv-$$version" PYTHON="$$python" </dev/null || exit 1; \
	done
	$(MAKE) test-browser MARKS=browser

test-browser: MARKS := browser and not slow
test-browser: $(INSTALLED)  ## notebooks in JupyterLab and headless Chromium; skipped where there is none
	-$(PIP) --quiet --editable '.[browser,pages]'
	$(RUN) pytest tests/house/test_browser.py -m '$(MARKS)' $(ARGS)

gpu: $(INSTALLED)  ## put MXNet's GPU build and NVIDIA's CUDA 11 libraries in place of the CPU build (about 4 GB)
	$(RUN) pip install --quiet --editable '.[gpu]'
	$(RUN) pip uninstall --quiet --yes mxnet
	$(RUN) pip install --quiet --force-reinstall --no-deps mxnet-cu112==1.9.1
	$(RUN) bertnli doctor

cpu: $(INSTALLED)  ## go back from `make gpu`
	$(RUN) pip uninstall --quiet --yes mxnet-cu112
	$(RUN) pip install --quiet --force-reinstall --no-deps mxnet==1.9.1

notebook: $(INSTALLED)  ## open the notebooks in JupyterLab
	$(RUN) jupyterlab $(shell test "$$(id -u)" != 0 || echo --allow-root) notebooks/0-start-here.ipynb $(ARGS)

book: $(INSTALLED)  ## all notebooks as linked pages that open from disk: build/book/index.html
	$(PIP) --quiet --editable '.[pages]'
	$(VENV)/bin/python notebooks/publish.py book build/book

slides: $(INSTALLED)  ## the chapter as slides that open from disk: build/slides/index.html
	$(PIP) --quiet --editable '.[pages]'
	$(VENV)/bin/python notebooks/publish.py slides build/slides

# subtle: what builds a package is no dependency of it, so hatchling and editables are named.
wheelhouse: $(INSTALLED)  ## gather every wheel for this Python, so that a copy of this folder needs no network
	$(RUN) pip wheel --quiet --wheel-dir '$(WHEELHOUSE)' '.[test,browser,pages]' pip 'hatchling>=1.18,<2' editables

clean:  ## remove environments and caches (what you trained, in runs/, stays)
	rm -rf .venv .venv-* build dist .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# subtle: pip is renewed first, because the one that Python 3.9 brings along never ends its search.
$(INSTALLED): pyproject.toml
	@found=$$(sh .ci/pythons $(PYTHON)) && python=$$(echo "$$found" | sed -n '1s/^[^ ]* //p') && \
	echo "Installing into $(VENV) with $$python: a minute or two, about 1 GB on disk." && \
	{ test -x $(VENV)/bin/python || "$$python" -m venv $(VENV); }
	$(PIP) --quiet --upgrade pip
	$(PIP) --editable '.[test]'
	@touch $@
