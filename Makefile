# make PYTHON=/path/to/python3 chooses the Python of the template's own environment.
PYTHON = python3
VENV = .venv/bin/python

export PYTHONUTF8 = 1

.PHONY: help demo test test-fast test-pythons engine-tests gpu-tests docs benchmark benchmark-training benchmark-models benchmark-cluster lint format clean
.DEFAULT_GOAL := help

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' Makefile

demo: .venv/complete  ## Bake a project into demo/, set it up and train it
	@$(VENV) scripts/demo.py

test: .venv/complete  ## Run all tests, with TensorFlow 1.15 and 2.x (minutes)
	$(VENV) -m pytest -n 2 --dist loadgroup

test-fast: .venv/complete  ## Run the fast tests, without TensorFlow and a network (seconds)
	$(VENV) -m pytest -n 2 --dist worksteal -m "not tensorflow and not network and not slow"

test-pythons: .venv/complete  ## Try a project on each Python that is here (ARGS="3.10 3.13"; half an hour)
	$(VENV) scripts/pythons.py $(ARGS)

engine-tests: .venv/complete  ## Run the engine's tests in a project made from this (PROJECT=path)
	@$(VENV) scripts/engine_tests.py "$(PROJECT)" $(ARGS)

gpu-tests: .venv/complete  ## Run those of them that need a GPU; where there is none, all are skipped (PROJECT=path)
	@$(VENV) scripts/engine_tests.py "$(PROJECT)" -m gpu --durations=0 $(ARGS)

docs: .venv/docs/complete  ## Build the documentation into site/, with the pages of a bake
	@mkdir -p .cache/docs/pages
	@NO_MKDOCS_2_WARNING=1 .venv/docs/bin/python -m mkdocs build --strict

benchmark: .venv/complete  ## Compare the data half with what tutorials do (minutes)
	$(VENV) benchmarks/data.py $(ARGS)

benchmark-training: .venv/complete  ## Compare training with Keras, Estimator and tensorpack (minutes)
	$(VENV) benchmarks/training.py $(ARGS)

benchmark-models: .venv/complete  ## Compare four models with Keras and their limit, best on a GPU (minutes)
	$(VENV) benchmarks/models.py $(ARGS)

benchmark-cluster: .venv/complete  ## Compare runs of several devices and processes, and kill them (an hour)
	$(VENV) benchmarks/in_step.py $(ARGS)
	$(VENV) benchmarks/cluster.py $(ARGS)

# The import lines of the emitted tests and notebook hold Jinja: tests/test_render.py lints them in a bake.
# No cache: it would lie among the sources of the emitted project.
RUFF_OPTIONS = --no-cache --exclude '*cookiecutter*/tests,*cookiecutter*/*.ipynb'

lint: .venv/complete  ## Check the format and the lint rules
	$(VENV) -m ruff check $(RUFF_OPTIONS) .
	$(VENV) -m ruff format --check $(RUFF_OPTIONS) .

format: .venv/complete  ## Fix the format, and what lint can fix
	$(VENV) -m ruff check --fix $(RUFF_OPTIONS) .
	$(VENV) -m ruff format $(RUFF_OPTIONS) .

clean:  ## Remove the demo, the environments and caches
	rm -rf demo site .venv .cache .hypothesis
	find . -depth -type d \( -name __pycache__ -o -name '.*_cache' \) -exec rm -rf {} +

# An environment whose Python does not run, perhaps because that was removed, is created again; two
# makes at once create one, where there is flock. Touched last, so that an interrupted set-up is
# repeated.
.venv/complete: requirements-dev.txt $(shell $(VENV) -c '' 2>/dev/null || echo broken)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "error: $(PYTHON) is not a Python >= 3.10; name one: make PYTHON=python3.12" >&2; exit 2; }
	@$(shell command -v flock 2>/dev/null && echo requirements-dev.txt) sh -ec '\
	  if [ $@ -nt requirements-dev.txt ] && $(VENV) -c "" 2>/dev/null; then exit; fi; \
	  echo "setting up .venv"; \
	  $(PYTHON) -m venv --clear .venv; \
	  $(VENV) -m pip -qq --disable-pip-version-check --retries 2 install -r requirements-dev.txt || \
	    { echo "error: pip failed; is there a connection to the package index? Repeat make" >&2; \
	      exit 1; }; \
	  touch $@'

# Apart from .venv, so that one of them can be newer; in it, so that they come and go together.
.venv/docs/complete: .venv/complete requirements-docs.txt
	@echo "setting up .venv/docs"
	@$(VENV) -m venv --clear .venv/docs
	@.venv/docs/bin/python -m pip -qq --disable-pip-version-check --retries 2 install \
	  --no-compile -r requirements-docs.txt || \
	  { echo "error: pip failed; is there a connection to the package index? Repeat make" >&2; exit 1; }
	@touch $@

.PHONY: broken
