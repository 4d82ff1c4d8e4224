"""The TensorRT runtime over one version's real bindings and a simulated GPU; prints what it touched, as JSON.

python -m tests.engines.runtime_program VERSION latency|throughput
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast
from unittest import mock

import numpy as np

from engines import tensorrt_backend
from engines.loaded import LoadOptions
from engines.manifest import Graph, Manifest
from engines.tensorrt_backend import TensorRtRun
from tests.engines.cuda_fakes import Driver, Gpu
from tests.engines.libcuda_fake import LibCuda
from tests.engines.tensorrt_bindings import RTX, load
from tests.engines.tensorrt_fake import TypedSdk

PIXELS = (-1, 4, 2, 3)
ANSWERS: dict[str, Any] = {
    "ICudaEngine.num_io_tensors": 2,
    "ICudaEngine.get_tensor_name": lambda sdk: ("pixels", "embedding")[int(sdk.calls[-1][1])],
    "ICudaEngine.get_tensor_mode": lambda sdk: getattr(sdk.real.TensorIOMode, "INPUT" if of_pixels(sdk) else "OUTPUT"),
    "ICudaEngine.get_tensor_dtype": lambda sdk: getattr(sdk.real.DataType, "UINT8" if of_pixels(sdk) else "FLOAT"),
    "ICudaEngine.get_tensor_shape": lambda sdk: PIXELS if of_pixels(sdk) else (-1, 4),
    "ICudaEngine.get_tensor_profile_shape": [(1, *PIXELS[1:]), (4, *PIXELS[1:]), (8, *PIXELS[1:])],
    "ICudaEngine.device_memory_size": 64,
    "ICudaEngine.device_memory_size_v2": 64,
}


def of_pixels(sdk: TypedSdk) -> bool:
    return sdk.calls[-1][1] == repr("pixels")


def main(version: str, hint: str) -> None:
    sdk = TypedSdk(load(version), answers=ANSWERS)
    gpu = Gpu()
    cuda, graph = Driver(gpu), Graph(
        file="x.plan", sha256="", modality="visible", precision="fp16", form="tensorrt",
        target="tensorrt-rtx 1.7.1 SM86 batch=1/4/8" if version == RTX else f"tensorrt {version} SM87 batch=1/4/8",
    )  # fmt: skip
    manifest = Manifest(method="m", height_px=4, width_px=2, embedding_dim=4, graphs=(graph,))
    options = LoadOptions(graph=graph, manifest=manifest, hint=cast("Any", hint))
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(tensorrt_backend, "cuda_driver", return_value=cuda),
        mock.patch.object(tensorrt_backend, "load_sdk", return_value=sdk),
        mock.patch.object(tensorrt_backend, "load_libcuda", return_value=LibCuda(gpu)),
    ):
        path = Path(folder) / "x.plan"
        path.write_bytes(b"plan")
        run = TensorRtRun(path, options, "tensorrt-rtx" if version == RTX else "tensorrt")
        for count in (1, 3, 3, 21):
            run(np.zeros((count, *PIXELS[1:]), np.uint8))
        run.close()
    problems = [problem for problem in gpu.problems if "recorded" not in problem]
    found = {"touched": sorted(sdk.touched), "problems": problems, "live": len(gpu.live), "calls": gpu.calls}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
