# `make demo` and `make test` on a machine that has Python 3.10-3.12 and make; all else goes into .venv.
#
#   PYTHON=/path/to/python3.11   choose the interpreter
#   TORCH=torch==2.13.0          choose the PyTorch
#   WORKERS=2                    processes that `make test` shares the tests among

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
PYTHONS := python3.11 python3.12 python3.10 python3
TORCH ?= torch==2.13.0
WORKERS ?= 2
EXTRAS := correction,evaluation,kilted,papers,test,training,view
# colcon needs setuptools < 80
TOOLS := 'setuptools>=77.0.3,<80' 'pytest<9'
PACKAGED := $(shell find rdflux_ros -name '*.py' -o -name '*.html') $(wildcard config/* launch/* models/* rviz/* resource/executables/*)

# A sourced ROS installation must not reach into .venv, which has its own.
unexport PYTHONPATH PYTHONHOME LD_LIBRARY_PATH AMENT_PREFIX_PATH AMENT_CURRENT_PREFIX CMAKE_PREFIX_PATH \
  COLCON_PREFIX_PATH ROS_DISTRO ROS_VERSION ROS_PYTHON_VERSION ROS_DOMAIN_ID ROS_LOCALHOST_ONLY ROS_DISCOVERY_SERVER \
  ROS_AUTOMATIC_DISCOVERY_RANGE ROS_STATIC_PEERS ROS_SUPER_CLIENT ROS_SECURITY_ENABLE ROS_PACKAGE_PATH \
  ROS_ETC_DIR ROS_HOME ROS_LOG_DIR RMW_IMPLEMENTATION FASTDDS_DEFAULT_PROFILES_FILE FASTRTPS_DEFAULT_PROFILES_FILE \
  FASTDDS_BUILTIN_TRANSPORTS CYCLONEDDS_URI VIRTUAL_ENV

RUN = PATH="$(BIN):$$PATH" AMENT_PREFIX_PATH="$(VENV)" ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST PYTHONUNBUFFERED=1

.PHONY: help demo train results test lint venv clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-7s %s\n", $$1, $$2}' Makefile

demo: venv  ## play a flight over Krems to the real mapper and score what it answers (two minutes; results in demo_output/)
	@$(RUN) $(BIN)/python -m rdflux_ros.node.demo $(ARGS)

train: venv  ## train a small model on examples/streets (ten minutes; runs/small, goes on where it was)
	@for stage in conditional static aligned; do \
	  $(RUN) $(BIN)/python -m rdflux_ros.training.train $$stage --config config/train_small.yaml \
	    --data examples/streets --out runs/small $(ARGS) || exit 1; \
	done
	@$(RUN) $(BIN)/python -m rdflux_ros.evaluation.evaluate accuracy --model runs/small/model.safetensors \
	  --data examples/streets --split val --methods physics,flux,aligned

RATIOS := 0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,0.95,0.98,0.99
PAIRS ?= 17
EVALUATE = $(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m rdflux_ros.evaluation.evaluate

results: venv  ## measure it all on DATA=path/to/city and write docs/results.md (an hour or two on a CPU; most of it goes on where it was)
	@test -d "$(DATA)" || { echo "make results DATA=path/to/city: a dataset in RadioMapSeer's layout with heights"; exit 2; }
	@$(EVALUATE) accuracy --data $(DATA) --no-pictures --json runs/results/accuracy.json --report docs/results/accuracy \
	  --methods physics,full,full_1,full_2,full_5,full_10,vanilla,flux,aligned,other_midpoint,no_midpoint
	@for scenario in transmitter dynamic static; do \
	  $(EVALUATE) reuse --scenario $$scenario --ratios $(RATIOS) --data $(DATA) --pairs $(PAIRS) --pictures 1 \
	    --json runs/results/$$scenario.json --report docs/results/$$scenario || exit 1; \
	done
	@$(EVALUATE) similarity --data $(DATA) --json runs/results/similarity.json --report docs/results/similarity
	@$(EVALUATE) movement --data $(DATA) --json runs/results/movement.json --report docs/results/movement
	@$(EVALUATE) uncertainty --data $(DATA) --json runs/results/uncertainty.json --report docs/results/uncertainty
	@$(EVALUATE) results docs/results --out docs/results.md

# One thread each: those of several processes on few cores wait for one another at every step.
test: lint  ## lint, then all tests
	@$(RUN) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

lint: venv  ## formatting, types and the import rule
	@$(RUN) $(BIN)/ruff check
	@$(RUN) $(BIN)/ruff format --check
	@$(RUN) $(BIN)/mypy
	@$(RUN) $(BIN)/lint-imports

venv: $(VENV)/.package  ## set up .venv (idempotent)

clean:  ## remove .venv and whatever was built
	rm -rf .venv build install log dist demo_output *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What we are, as pip installs it: ROS looks up executables and shared files there. Tests run on the source tree.
$(VENV)/.package: $(VENV)/.dependencies setup.cfg package.xml README.md $(PACKAGED)
	@rm -rf build
	@$(call quietly,$(BIN)/python -m pip install --force-reinstall --no-deps --no-build-isolation .)
	@rm -rf build *.egg-info
	@touch $@

# What we need.
$(VENV)/.dependencies: $(VENV)/bin/python Makefile setup.py
	@echo "Setting up .venv, this takes a few minutes ..."
	@$(call quietly,$(BIN)/python -m pip install $(TOOLS) '$(TORCH)' '.[$(EXTRAS)]')
	@touch $@

# An interpreter counts if it runs (version managers leave shims that do not) and can make virtual environments.
$(VENV)/bin/python:
	@for name in $(or $(PYTHON),$(PYTHONS)); do \
	  for python in $$(which -a "$$name" 2>/dev/null || command -v "$$name"); do \
	    if "$$python" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	        2>/dev/null; then \
	      "$$python" -m venv --clear $(VENV) && exit 0; \
	    fi; \
	  done; \
	done; \
	echo "error: found no Python 3.10-3.12 with the venv module (tried $(or $(PYTHON),$(PYTHONS)));" \
	  "install one (Debian, Ubuntu: python3-venv) or name one: make PYTHON=/path/to/python3.11" >&2; exit 1

# pip tells too much where it works and must not be silent where it does not.
quietly = mkdir -p $(VENV) && { $(1) > $(VENV)/pip.log 2>&1 || { grep -v -i warning $(VENV)/pip.log | tail -n 15 >&2; exit 1; }; }
