# The only commands anyone has to know: make demo, make test, make lint, make assets.
#
# .venv         the workstation: converter, runtime, TensorFlow, tools
# .venv-device  the device: the runtime's wheel and what it needs, nothing else
# build/        wheels, the demo's files, the environment of the runtime's tests

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null \
	&& echo "$$p" && break; done)
MNIST ?=

WORKSTATION := .venv/bin/python
DEVICE := .venv-device/bin/python
PIP := -m pip --disable-pip-version-check
SOURCES := $(shell find runtime converter/src -type f -not -name '*.pyc' -not -path '*/.*') \
	converter/pyproject.toml converter/README.md
WHEELS = build/wheels/edgeport-*.whl build/wheels/edgeport_converter-*.whl

.DELETE_ON_ERROR:
.PHONY: demo test operators devices lint readme assets clean help

help:
	@echo 'make demo [MNIST=mnist.npz]   train, convert, run without TensorFlow, compare'
	@echo 'make test                     every test, the runtime in each Python of this machine'
	@echo 'make devices                  the same on emulated CPUs (Debian: apt install qemu-user-static)'
	@echo 'make operators                ONNX operator cases (Debian: apt install libonnx-testdata)'
	@echo 'make lint                     ruff, mypy'
	@echo 'make readme MNIST=mnist.npz   the demo, and its table into README.md'
	@echo 'make assets MNIST=mnist.npz   remake assets/'

demo: build/.workstation build/.device
	$(WORKSTATION) converter/demo/workstation.py --output build/demo $(if $(MNIST),--mnist '$(MNIST)')
	$(DEVICE) converter/demo/device.py build/demo
	$(WORKSTATION) converter/demo/compare.py build/demo

test: build/.workstation-tools build/.device
	$(WORKSTATION) tests/runtime/in_every_python.py build
	$(WORKSTATION) -m pytest tests/converter tests/integration

# Needs Debian's qemu-user-static; the tests of numbers only, a few minutes for each device.
devices: build/.workstation-tools
	$(WORKSTATION) tests/runtime/on_devices.py build

# Of Debian's package libonnx-testdata; not part of the tests, which need no system package.
operators: build/.device
	$(DEVICE) tests/runtime/operator_cases.py

lint: build/.workstation-tools
	$(WORKSTATION) -m ruff check .
	$(WORKSTATION) -m ruff format --check .
	$(WORKSTATION) -m mypy

# The README's table is printed by the demo, never typed.
readme: demo
	$(WORKSTATION) converter/demo/compare.py build/demo --readme README.md

assets: build/.workstation
	$(WORKSTATION) converter/demo/make_assets.py --mnist '$(MNIST)' --output assets

clean:
	rm -rf .venv .venv-device build

# pip older than 25.1 knows no dependency groups.
build/.venv: pyproject.toml
	@test -n '$(PYTHON)' || { echo 'edgeport needs Python 3.11, 3.12 or 3.13 and found none: install one, or name it with make PYTHON=/path/to/python' >&2; exit 1; }
	@mkdir -p build
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(WORKSTATION) $(PIP) install --upgrade 'pip>=25.1' -c constraints.txt --quiet
	$(WORKSTATION) $(PIP) install --group build -c constraints.txt --quiet
	@touch $@

build/.wheels: build/.venv $(SOURCES)
	rm -rf build/wheels
	$(WORKSTATION) $(PIP) wheel --no-deps --no-build-isolation --quiet -w build/wheels ./runtime ./converter
	@touch $@

# An unchanged version number would keep the old code, hence the second install.
build/.workstation: build/.wheels constraints.txt
	$(WORKSTATION) $(PIP) install -c constraints.txt --group demo $(WHEELS)
	$(WORKSTATION) $(PIP) install --no-deps --force-reinstall --quiet $(WHEELS)
	@touch $@

build/.workstation-tools: build/.workstation
	$(WORKSTATION) $(PIP) install -c constraints.txt --group test --group lint
	@touch $@

build/.device: build/.wheels constraints.txt
	test -x $(DEVICE) || $(PYTHON) -m venv .venv-device
	$(DEVICE) $(PIP) install -c constraints.txt build/wheels/edgeport-*.whl
	$(DEVICE) $(PIP) install --no-deps --force-reinstall --quiet build/wheels/edgeport-*.whl
	@touch $@
