# Everything is set up from nothing: each target makes .venv first. PYTHON names another interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The TensorRT-RTX wheels exist for x86-64; they build plans without a GPU.
EXTRAS := cpu,train,dev,qdrant$(shell test "$$(uname -sm)" = "Linux x86_64" && echo ,tensorrt-rtx)
READY := $(VENV)/.ready

.PHONY: demo test test-slow check fuzz sbom audit device-bundle parity bench clean

$(READY): pyproject.toml constraints.txt
	@echo "setting up $(VENV) (a few minutes the first time)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$(EXTRAS)]"
	@touch $(READY)

demo: $(READY)  ## train, export, calibrate, build, parity, two camera streams; see demo/report.html
	@$(BIN)/python deploy/run_demo.py

# Tests mix the thread pools of PyTorch, OpenVINO and ONNX Runtime: one that spins while it waits starves the others.
test test-slow check fuzz: export OMP_WAIT_POLICY := PASSIVE

test: $(READY)  ## what CI runs
	@$(BIN)/python -m pytest -q -m "not slow and not gpu and not trt"

test-slow: $(READY)
	@$(BIN)/python -m pytest -q -m slow

check: $(READY)  ## format, lint, layers, types, fast tests: under a minute
	@$(BIN)/python tests/project/run_checks.py

fuzz: $(READY)  ## the parsers, thousands of cases each; the table of cases comes last
	@HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -q tests/fuzz

sbom: $(READY)  ## what a device and a workstation install, as CycloneDX, into sbom/
	@$(BIN)/python tests/project/write_sbom.py

audit: $(READY)  ## known vulnerabilities of what is installed; exit code 3 where no service can be reached
	@$(BIN)/python tests/project/run_audit.py

device-bundle: $(READY)  ## an archive for a device without a network: make device-bundle MODEL=engines/built/people DEVICE="--python 3.10 --runtime tensorrt"
	@$(BIN)/python deploy/make_bundle.py $(if $(MODEL),--engine $(MODEL)) $(DEVICE)

parity: $(READY)  ## check an engine folder against PyTorch: make parity MODEL=engines/built/people
	@$(BIN)/python deploy/check_parity.py $(MODEL) --picture $(MODEL)/parity.png --json $(MODEL)/parity.json

bench: $(READY)  ## every benchmark: a table, then one JSON line each
	@$(BIN)/python tests/benchmarks/run_benchmarks.py

clean:
	rm -rf $(VENV) demo runs engines/built sbom dist
