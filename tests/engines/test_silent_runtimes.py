"""Nothing that we load calls home: a run leaves no trace of a report, which both CPU runtimes keep as installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# CI=true switches one of them off by itself.
CLEAN = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
OPEN_AND_EMBED = """
import sys
from pathlib import Path
import numpy as np
from engines.open import open_engine
with open_engine(Path(sys.argv[1]), backend=sys.argv[2], precision="fp32") as engine:
    shape = (1, engine.manifest.height_px, engine.manifest.width_px, 3)
    engine.embed(np.zeros(shape, np.uint8), "visible")
print("embedded")
"""


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_runtime_leaves_no_report(backend: str, engine_folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_EMBED, str(engine_folder), backend],
        cwd=ROOT, env={**CLEAN, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "embedded", done.stderr
    left = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()]
    assert not left
