# The only commands anyone has to know; `make` alone lists them.
#
# .venv         the workstation: converter, runtime, TensorFlow, tools
# .venv-device  the device: the runtime's wheel and what it needs, nothing else
# build/        wheels, the demo's files, an environment of the runtime's tests for each Python, one
#               with the lowest versions that the converter allows
#
# Each environment holds a stamp file for what was installed into it. An environment that was deleted
# or only half made has no stamp, so make builds it again.

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
export MNIST ?=

WORKSTATION := .venv/bin/python
DEVICE := .venv-device/bin/python
LOWEST := build/venv-lowest/bin/python
PIP := -m pip --disable-pip-version-check
# Folders too: their time changes when a file is deleted.
SOURCES := $(shell find runtime converter/src -not -path '*/__pycache__*' -not -path '*/.*') \
	converter/pyproject.toml converter/README.md
WHEELS = build/wheels/edgeport-*.whl build/wheels/edgeport_converter-*.whl

.DELETE_ON_ERROR:
.PHONY: help demo examples page test test-fast test-browser has-browser test-postgresql test-scale \
	has-java test-lowest \
	devices bundle-devices operators lint readme bench figures passes layers layer-times calls frames \
	quantization quantization-devices verdicts spoiled finetune bundles scoring calibration-memory \
	training assets clean

help:
	@echo 'make demo [MNIST=mnist.npz]   train, convert, run without TensorFlow, compare'
	@echo 'make page                     the demo'\''s digits as a web page, into build/page (needs npm)'
	@echo 'make examples                 ten tasks, each trained, converted and run: converter/examples'
	@echo 'make test                     every test, the runtime in each Python of this machine'
	@echo 'make test-fast                the quick part of them in one Python, while editing'
	@echo 'make test-browser             pages in Chromium (Debian: apt install chromium npm)'
	@echo 'make test-postgresql          four workers on one search (Debian: apt install postgresql)'
	@echo 'make test-lowest              layers and the demo with the lowest versions that are allowed'
	@echo 'make test-scale               millions of rows, kills, a full disk, Ray, a shared search in PostgreSQL;'
	@echo '                              a predictor in Ray, Spark and Dask (Debian: apt install default-jre-headless)'
	@echo 'make devices                  the same on emulated CPUs (Debian: apt install qemu-user-static)'
	@echo 'make bundle-devices           a bundle on an emulated device without a network (needs the same)'
	@echo 'make operators                ONNX operator cases (Debian: apt install libonnx-testdata)'
	@echo 'make lint                     ruff, mypy'
	@echo 'make readme MNIST=mnist.npz   the demo, and its table into tests/benchmarks/README.md'
	@echo 'make bench SHARED=dir         ten models beside onnxruntime, LiteRT, OpenVINO and Keras'
	@echo 'make layer-times SHARED=dir   graphs composed from layer times beside the measured search'
	@echo 'make figures                  the stored runs into the READMEs and the picture'
	@echo 'make passes SHARED=dir        what each rewriting of the graph is worth'
	@echo 'make layers                   every Keras layer and application: exact or refused'
	@echo 'make frames SHARED=dir        how a photo reaches a model: classes that change, and the cost'
	@echo 'make calls FILES="a.onnx ..." predict beside code by hand: batches, threads, kinds, loads'
	@echo 'make quantization SHARED=dir  int8 beside naive quantization and LiteRT'
	@echo 'make quantization-devices SHARED=dir  int8 files for every target on emulated CPUs'
	@echo 'make verdicts SHARED=dir      shares of equal classes that reports tell, on other samples'
	@echo 'make spoiled SHARED=dir       wrong weights: what the parity check notices or owns up to'
	@echo 'make bundles                  disk, memory and cold start of a device beside LiteRT'\''s'
	@echo 'make finetune [SHARED=dir]    what fine-tuning brings back of what int8 loses'
	@echo 'make calibration-memory       peak memory with 200 and with 2,000 samples'
	@echo 'make scoring                  edgeport score beside a plain loop: rows a second, memory'
	@echo 'make training MNIST=mnist.npz what recipes, searches and means against over-fitting reach'
	@echo 'make assets MNIST=mnist.npz   remake assets/'
	@echo 'make clean                    remove environments and build/'

demo: .venv/.workstation .venv-device/.runtime
	$(WORKSTATION) converter/demo/workstation.py --output build/demo $(if $(MNIST),--mnist "$$MNIST")
	$(DEVICE) converter/demo/device.py build/demo
	$(WORKSTATION) converter/demo/compare.py build/demo

# npm downloads onnxruntime-web once, into the user's cache.
page: .venv/.workstation
	$(WORKSTATION) -m edgeport page assets/digits.onnx -o build/page

# Each beside the Keras model that it came from. Takes some minutes.
examples: .venv/.tools
	mkdir -p build/examples
	cd build/examples && for script in $(filter-out made_data,$(basename $(notdir $(wildcard converter/examples/*.py)))); do \
		echo "== $$script" && TF_CPP_MIN_LOG_LEVEL=3 ../../$(WORKSTATION) ../../converter/examples/$$script.py || exit 1; done

# Only the workstation has pandas and polars, so the runtime's tests of columns run there once more.
test: .venv/.tools .venv-device/.runtime
	$(WORKSTATION) tests/runtime/scripts/in_every_python.py build
	$(WORKSTATION) -m pytest tests/converter tests/integration tests/runtime/inputs/test_columns.py

# The sources as they lie here, without building wheels; what takes long is left to `make test`.
test-fast: .venv/.tools
	PYTHONPATH=runtime/src:converter/src $(WORKSTATION) -m pytest -q -m 'not slow' tests

# `make test` needs neither of the two programs.
test-browser: has-browser .venv/.browser
	$(WORKSTATION) -m pytest tests/browser

# A part of `make test-scale` that needs no other environment; the server is started by the test.
test-postgresql: .venv/.tools
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || { echo 'make test-postgresql needs a PostgreSQL server: install it (Debian: apt install postgresql)' >&2; exit 1; }
	$(WORKSTATION) -m pytest tests/scale/test_search_on_postgresql.py

has-browser:
	@command -v chromium >/dev/null && command -v npm >/dev/null || { echo 'make test-browser needs chromium and npm: install them (Debian: apt install chromium npm)' >&2; exit 1; }

# What pyproject.toml allows has to work. The runtime's lowest versions are tested by `make test`.
# Old packages warn of what new ones have changed.
test-lowest: build/venv-lowest/.installed .venv-device/.runtime
	$(LOWEST) -m pytest -q -W ignore tests/converter/exporting tests/converter/test_screen.py tests/integration/test_article_network.py

# Ray, Spark, Dask and the drivers of databases get an environment of their own.
test-scale: has-java build/venv-scale/.installed
	@echo 'make test-scale needs Ray, Spark, Dask and TensorFlow from the package index, Java 17, 4 GB of memory, 6 GB of disk and about 20 minutes, and for one test Debian'\''s postgresql; as root it fills a small disk, too'
	build/venv-scale/bin/python -m pytest -s tests/scale

has-java:
	@java -version >/dev/null 2>&1 || { echo 'make test-scale needs Java 17 or newer for Spark: install it (Debian: apt install default-jre-headless)' >&2; exit 1; }

# Needs Debian's qemu-user-static. Runs the numerical tests only, a few minutes for each device.
devices: .venv/.tools
	$(WORKSTATION) tests/runtime/scripts/on_devices.py build

# Also needs a Linux whose user namespaces may mount binfmt_misc: 6.7 or newer.
bundle-devices: .venv/.tools
	$(WORKSTATION) tests/runtime/scripts/bundle_devices.py build --tests

# The cases come from Debian's package libonnx-testdata; the tests need no system package.
operators: .venv-device/.runtime
	$(DEVICE) tests/runtime/scripts/operator_cases.py

lint: .venv/.tools
	$(WORKSTATION) -m ruff check .
	$(WORKSTATION) -m ruff format --check .
	$(WORKSTATION) -m mypy

# The table there is printed by the demo, never typed.
readme: demo
	$(WORKSTATION) converter/demo/compare.py build/demo --readme tests/benchmarks/README.md

# The peers get an environment of their own. BENCH=... passes options on, such as --only or --rounds.
bench: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/bench.py "$(SHARED)" --output build/bench.json $(BENCH)

# From the runs that are stored in the repository, in tests/benchmarks/runs/.
figures: .venv/.tools
	$(WORKSTATION) tests/benchmarks/figures.py

# What each rewriting of the graph is worth, on models of SHARED and of keras.applications.
passes: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/passes.py "$(SHARED)/models" MobileNetV3Small EfficientNetB0 \
		DenseNet121 ConvNeXtTiny resnet_1d tcn --output build/passes.json

# Whether times of single layers lead to as fast a graph as running each graph does.
layer-times: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/layer_times.py "$(SHARED)" --output build/layer_times.json

# Every Keras layer, activation and application: exact, or refused by name.
layers: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/layers.py --output build/layers.json

# What training code did to pictures, beside the graph that does it on a device.
frames: .venv/.tools
	$(WORKSTATION) tests/benchmarks/frames.py "$(SHARED)" --output build/frames.json

# What `predict` costs beside onnxruntime's own call. The demo's artifact, or those of `make bench`.
FILES ?= assets/digits.onnx
calls: .venv/.workstation
	mkdir -p build
	$(WORKSTATION) tests/benchmarks/whole_calls.py $(FILES) > build/calls.json

# SHARED holds the models, data and .tflite files; tests/benchmarks/quantization.py names them.
quantization: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/quantization.py "$(SHARED)" --output build/quantization.json

# Needs what `make devices` needs, and keeps the same arm64 root.
quantization-devices: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/emulated_artifacts.py "$(SHARED)" build

# Whether what a report tells of 300 samples holds on thousands of others.
verdicts: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/verdicts.py "$(SHARED)" --output build/verdicts.json

# Fails if wrong weights are missed and the card says nothing of it.
spoiled: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/spoiled_weights.py "$(SHARED)" --output build/spoiled.json

# Needs build/demo, of `make demo`, whose network LiteRT gets, too.
# Where `make bundle-devices` has kept an arm64 root, aarch64 is emulated, too.
bundles: demo
	$(WORKSTATION) tests/benchmarks/bundles.py build/demo --output build/bundles.json \
		$(if $(wildcard build/arm64/complete),--arm-root build/arm64)

# Without SHARED two networks are left out, and others without their Debian packages; it says so.
# Resumes where an earlier run ended; delete build/finetune.json to start again.
finetune: .venv/.tools
	$(WORKSTATION) tests/benchmarks/finetune.py $(if $(SHARED),--shared "$(SHARED)") \
		--output build/finetune.json

calibration-memory: .venv/.workstation
	$(WORKSTATION) tests/benchmarks/calibration_memory.py --output build/calibration_memory.json

# Needs 7 GB of disk for a few minutes.
scoring: .venv/.tools
	$(WORKSTATION) tests/benchmarks/scoring.py --folder build/scoring --output build/scoring.json

# Resumes where an earlier run ended; delete build/training.json to start again.
training: .venv/.tools
	$(WORKSTATION) tests/benchmarks/training.py --mnist "$$MNIST" --output build/training.json

assets: .venv/.workstation
	$(WORKSTATION) converter/demo/make_assets.py --mnist "$$MNIST" --output assets

clean:
	rm -rf .venv .venv-device build

# pip older than 25.1 knows no dependency groups.
.venv/.pip .venv-device/.pip build/venv-lowest/.pip build/venv-scale/.pip:
	@test -n '$(PYTHON)' || { echo 'edgeport needs Python 3.11, 3.12 or 3.13 and found none: install one, or name it with make PYTHON=/path/to/python' >&2; exit 1; }
	@'$(PYTHON)' -c '$(SUPPORTED)' || { echo "'$(PYTHON)' is no Python 3.11, 3.12 or 3.13: name one with make PYTHON=/path/to/python" >&2; exit 1; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || { echo "'$(PYTHON)' has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	rm -rf $(@D)
	'$(PYTHON)' -m venv $(@D)
	$(@D)/bin/python $(PIP) install --upgrade 'pip>=25.1' --quiet
	@touch $@

build/wheels/.built: .venv/.pip $(SOURCES)
	$(WORKSTATION) $(PIP) install --group build -c constraints.txt --quiet
	rm -rf build/wheels
	$(WORKSTATION) $(PIP) wheel --no-deps --no-build-isolation --quiet -w build/wheels ./runtime ./converter
	@touch $@

# pip keeps the old code while the version number is the same, hence the second, forced install.
.venv/.workstation: build/wheels/.built constraints.txt
	$(WORKSTATION) $(PIP) install -c constraints.txt --group demo $(WHEELS)
	$(WORKSTATION) $(PIP) install --no-deps --force-reinstall --quiet $(WHEELS)
	@touch $@

.venv/.tools: .venv/.workstation pyproject.toml
	$(WORKSTATION) $(PIP) install -c constraints.txt --group test --group test-converter --group lint --group score
	@touch $@

.venv/.browser: .venv/.tools pyproject.toml
	$(WORKSTATION) $(PIP) install -c constraints.txt --group browser --quiet
	@touch $@

.venv-device/.runtime: .venv-device/.pip build/wheels/.built constraints.txt
	$(DEVICE) $(PIP) install -c constraints.txt build/wheels/edgeport-*.whl
	$(DEVICE) $(PIP) install --no-deps --force-reinstall --quiet build/wheels/edgeport-*.whl
	@touch $@

build/venv-scale/.installed: build/venv-scale/.pip build/wheels/.built constraints.txt pyproject.toml
	for wheel in build/wheels/edgeport-*.whl; do for converter in build/wheels/edgeport_converter-*.whl; do \
		build/venv-scale/bin/python $(PIP) install -c constraints.txt --group test --group engines \
			"$$wheel[images,score,ray]" "$$converter[train,postgresql,ray]" && \
		build/venv-scale/bin/python $(PIP) install --no-deps --force-reinstall --quiet "$$wheel" "$$converter"; \
	done; done
	@touch $@

build/lowest.txt: tests/runtime/scripts/lowest_versions.py pyproject.toml build/wheels/.built
	$(WORKSTATION) tests/runtime/scripts/lowest_versions.py runtime converter . > $@

# The lowest versions have no wheels for Python 3.13.
build/venv-lowest/.pip: PYTHON = $(shell for p in python3.11 python3.12; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)

build/venv-lowest/.installed: build/venv-lowest/.pip build/lowest.txt
	$(LOWEST) $(PIP) install --no-compile -c build/lowest.txt --group demo --group test --group test-converter $(WHEELS)
	$(LOWEST) $(PIP) install --no-deps --force-reinstall --quiet $(WHEELS)
	@touch $@
