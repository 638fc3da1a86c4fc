# Two commands do all the set-up: `make run` starts the app, `make test` runs every check.
PORT   ?= 8501
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN    := .venv/bin
export PYTHONPATH := $(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# bytecode is written where it is first needed: most of what is installed is never imported, what is, by many processes
export PIP_NO_COMPILE := 1
export PYTHONDONTWRITEBYTECODE :=

.PHONY: run test slow check fast clean
.DEFAULT_GOAL := run

run: .venv/.ready  ## the app on http://localhost:$(PORT), with its worker
	STREAMLIT_SERVER_PORT=$(PORT) $(BIN)/python -m streamlit run tltools/ui/server.py

# a file stays in one process, which makes once what its tests share; in their own order, for the files with the fewest
# tests, which would else come last, take longest. The first time, one process imports what is tested, since four at once
# would each compile all of it. HYPOTHESIS_PROFILE=new draws other examples than last time
test: .venv/.ready-test  ## lint, then the suite (four files at a time: some wait) beside the types; `make slow` has what takes minutes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy & types=$$!; \
	  test -e .venv/.imported || $(BIN)/python -m pytest --collect-only -qq >/dev/null && touch .venv/.imported; \
	  $(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not slow"; suite=$$?; \
	  wait $$types && exit $$suite

slow: .venv/.ready-test  ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile -m slow

check: .venv/.ready-test  ## lint and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fast: .venv/.ready-test  ## the suite without the browser and the slow tests
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not browser and not slow"

clean:  ## removes the virtual environment; data stays
	rm -rf .venv

# a stamp file each, so that a changed requirements file installs again and an unchanged one costs nothing
.venv/.ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

.venv/.ready-test: .venv/.ready requirements-test.txt
	rm -f .venv/.imported
	$(BIN)/pip install --quiet -r requirements-test.txt
	command -v chromium-headless-shell >/dev/null || command -v chromium >/dev/null || command -v chromium-browser >/dev/null || \
	  command -v google-chrome >/dev/null || { SUDO=$$(test "$$(id -u)" = 0 || echo sudo); $$SUDO apt-get update -qq && \
	  $$SUDO apt-get install -y -qq --no-install-recommends chromium-headless-shell fonts-liberation >/dev/null; }
	touch $@
