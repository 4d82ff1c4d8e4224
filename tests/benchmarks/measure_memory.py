"""Do one thing in this process alone and print its peak memory in MB: bench_engines.py runs it.

device FOLDER BATCH: open the INT8 engine and embed both modalities, as a device does; PyTorch cannot be imported.
calibration ONNX N: measure the ranges of a float graph on N images of noise.

Shapes: B batch, H height, W width, C channel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="measure_memory", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["device", "calibration"])
    parser.add_argument("path", type=Path)
    parser.add_argument("count", type=int, metavar="N")
    args = parser.parse_args(argv)

    from engines.errors import run_script

    body = embed_as_a_device if args.what == "device" else calibrate
    return run_script("measure_memory", lambda: body(args.path, args.count))


def embed_as_a_device(folder: Path, batch: int) -> None:
    sys.modules["torch"] = None  # type: ignore[assignment]

    from engines.open import open_engine

    with open_engine(folder, backend="openvino", precision="int8", threads=1) as engine:
        image_BHWC = noise(batch, engine.manifest.height_px, engine.manifest.width_px)
        for _ in range(3):
            for modality in ("visible", "infrared"):
                engine.embed(image_BHWC, modality)
        write_peak()


def calibrate(onnx_path: Path, images: int) -> None:
    from calib.calibrate import measured_tensors
    from calib.graph_cost import load_graph
    from calib.ranges import measure
    from calib.samples import CALIBRATION_BATCH

    model = load_graph(onnx_path)
    height_px, width_px = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    batches = (noise(CALIBRATION_BATCH, height_px, width_px) for _ in range(images // CALIBRATION_BATCH))
    measure(model, measured_tensors(model), batches, threads=1)
    write_peak()


def write_peak() -> None:
    """Write VmHWM. Not getrusage: its peak starts at that of the process that forked this one."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))
    sys.stdout.write(f"{peak_kb * 1024 / 1e6:.1f}\n")


def noise(count: int, height_px: int, width_px: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, height_px, width_px, 3), dtype=np.uint8)


if __name__ == "__main__":
    # A bare clone works too, and no installed namesake can shadow our folders.
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    raise SystemExit(main())
