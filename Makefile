# The first Python that runs, is new enough and can make environments; else the first that is new enough (so that the
# message is about the missing package). A version manager's shim may come first in PATH and fail.
PYTHON ?= $(shell \
	for p in python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11; do \
		$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; exit; }; \
	done; \
	for p in python3 /usr/bin/python3; do \
		$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$p; exit; }; \
	done; \
	echo python3)

VENV := .venv
BIN  := $(VENV)/bin

# Scripts in an environment carry its path: one that was copied or moved with the tree would run the tree it came from.
ENV_IS_OURS = grep -qsF '$(CURDIR)/$(VENV)' $(BIN)/activate && $(BIN)/python -m pip --version >/dev/null 2>&1
ifneq ($(shell grep -sF '$(CURDIR)/$(VENV)' $(BIN)/activate | head -c 1),)
ENV_STAMPS :=
else
ENV_STAMPS := FORCE
endif

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# An editable install compiles nothing, and with PYTHONDONTWRITEBYTECODE in the environment every start would.
COMPILE := $(BIN)/python -m compileall -q tui backends symbols

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick random-kernel fidelity-kernel fidelity-culprits fidelity-instructions fidelity-programs fidelity-c monkey kills fuzz lint format bench screenshots recording programs wheel clean FORCE

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 14

demo: $(VENV)/app.stamp ## the app on the emulated machine: nothing to prepare, no root
	@$(BIN)/hwbp-tui

# Shared out by file; those that use debug registers stay on one core, see tests/conftest.py.
SHARED_OUT = -n auto --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

test: $(VENV)/dev.stamp ## every test that this machine allows; skips say why
	@$(BIN)/python -m pytest -rfEs $(SHARED_OUT)

test-quick: $(VENV)/dev.stamp ## the tests that take less than a second each
	@$(BIN)/python -m pytest -rfEs -q $(SHARED_OUT) -m "not slow"

random-kernel: $(VENV)/dev.stamp ## random sequences with every owner of the emulated kernel for SECONDS (60): what always holds, after each step
	@$(BIN)/python -m tests.machine.kernel_random --seconds $(or $(SECONDS),60)

fidelity-kernel: $(VENV)/dev.stamp ## this kernel against the model of it: random requests for SECONDS (60), as root also unprivileged and CPU-wide
	@$(BIN)/python -m tests.live.fidelity --seconds $(or $(SECONDS),60)

fidelity-culprits: $(VENV)/dev.stamp ## five programs on this machine's debug registers: culprits and values, each accused instruction stepped alone
	@$(BIN)/python -m tests.live.culprit_programs

fidelity-instructions: $(VENV)/dev.stamp ## every form of instruction in this machine's programs, on the engine and on this processor
	@$(BIN)/python -m tests.live.instructions --forms $(or $(FORMS),20)

fidelity-programs: $(VENV)/dev.stamp ## random programs on this machine's CPU and on the emulated one for SECONDS (60): hits, DR6, registers, memory, end
	@$(BIN)/python -m tests.live.random_programs --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

fidelity-c: $(VENV)/dev.stamp ## random C programs, compiled in random ways, on this machine's CPU and on the emulated one for SECONDS (60)
	@$(BIN)/python -m tests.live.random_c_programs --seconds $(or $(SECONDS),60) --seed $(or $(SEED),1)

monkey: $(VENV)/dev.stamp ## random keys, clicks, resizes and commands, EVENTS (20000) on each backend: no traceback, nothing left behind
	@$(BIN)/python -m tests.pilot.monkey --events $(or $(EVENTS),20000)

kills: $(VENV)/dev.stamp ## kill -9 of each of our processes at any moment, ROUNDS times (200): programs run on, slots are free (root)
	@$(BIN)/python -m tests.live.kills --rounds $(or $(ROUNDS),200) --seed $(or $(SEED),1)

fidelity-names: $(VENV)/dev.stamp ## names, lines, inlined calls and variables of programs of this machine beside nm, readelf, addr2line, llvm-symbolizer and gdb
	@$(BIN)/python -m tests.peers.names --addresses $(or $(ADDRESSES),2000)

fuzz: $(VENV)/dev.stamp ## nonsense into the parsers and decoders, each for SECONDS (60)
	@$(BIN)/python -m tests.fuzz.names --seconds $(or $(SECONDS),60)
	@$(BIN)/python -m tests.fuzz.culprit --seconds $(or $(SECONDS),60)
	@$(BIN)/python -m tests.fuzz.returns --seconds $(or $(SECONDS),60)

lint: $(VENV)/dev.stamp ## ruff, formatting, mypy --strict (tests too), import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy --strict tui backends symbols tests
	@$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## rewrite the code the way `lint` wants it
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

bench: $(VENV)/dev.stamp ## the numbers of this machine, as ratios against a peer beside them
	@$(BIN)/python tests/bench/run.py

screenshots: $(VENV)/dev.stamp ## draw screenshots/ from the app itself
	@command -v rsvg-convert >/dev/null || { echo "screenshots need rsvg-convert: apt-get install librsvg2-bin fonts-firacode"; exit 1; }
	@$(BIN)/python screenshots/make.py

recording: $(VENV)/dev.stamp ## record screenshots/hunt.cast and hunt.svg: a hunt on a live program, with real keys (root or CAP_BPF)
	@$(BIN)/python screenshots/record.py

programs: ## rebuild the built-in programs from their sources
	@command -v gcc >/dev/null || { echo "programs need gcc: apt-get install gcc libc6-dev"; exit 1; }
	@$(MAKE) --no-print-directory -C backends/emulated/programs
	@$(MAKE) --no-print-directory -C tests/machine/bare

wheel: $(VENV)/dev.stamp ## build dist/hwbp_tui-*.whl
	@$(BIN)/python -m build --wheel --no-isolation

clean: ## remove the environment, caches and dist/
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache snapshot_report.html
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/app.stamp: pyproject.toml constraints.txt $(ENV_STAMPS)
	$(make-environment)
	@$(PIP_INSTALL) -e . && $(COMPILE) && touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt $(ENV_STAMPS)
	$(make-environment)
	@$(PIP_INSTALL) -e ".[dev]" && $(COMPILE) && touch $(VENV)/app.stamp $@

define make-environment
@$(ENV_IS_OURS) || { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "hwbp-tui needs Python 3.11 or later: apt-get install python3 python3-venv, or make PYTHON=/path/to/python"; exit 1; }; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null \
		|| { echo "$(PYTHON) cannot make environments: apt-get install python3-venv"; exit 1; }; \
	echo "making $(VENV) with $(PYTHON), once"; \
	$(PYTHON) -m venv --clear $(VENV); }
endef
