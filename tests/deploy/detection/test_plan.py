"""A detector on a GPU: plans that TensorRT-RTX's real builder makes without one, and a simulated GPU that runs them.

The simulated TensorRT takes an ONNX file for a plan and has ONNX Runtime compute it, at the moment at which the
stream's work runs; memory, order and ownership are the simulated GPU's (tests.engines.cuda_fakes).
"""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import pytest

from deploy.cameras.frames import Frame
from deploy.detection import plan, tensorrt_run
from deploy.detection.open_detector import open_detector
from deploy.detection.plan import build_detector_plan, find_plan
from deploy.detection.tensorrt_run import TensorRtGraph
from engines import cuda_memory
from engines.choose_plan import Device
from engines.errors import BadInput
from engines.manifest import sha256_of
from engines.tensorrt_sdk import sdk_installed
from tests import detector_graphs
from tests.engines.cuda_fakes import CudaError, Driver, Gpu, Owned, Work
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

needs_rtx = pytest.mark.skipif(
    not sdk_installed("tensorrt-rtx"), reason="needs TensorRT-RTX: pip install -e .[tensorrt-rtx]"
)
ORIN = Device(flavour="tensorrt", version="10.3.0", capability="SM87", gpu="Orin (nvgpu)")
LARGEST = 8


class Context(Owned):
    """Runs the graph on the input's memory when the stream gets there."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.gpu, "execution context")
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self._gpu.holds[self.address] = self.addresses.values

    def destroy(self) -> None:
        del self._gpu.holds[self.address]
        super().destroy()

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        largest = self.engine.get_tensor_profile_shape(name, 0)[2]
        fits = shape[1:] == largest[1:] and 1 <= shape[0] <= largest[0]
        if fits:
            self.shapes[name] = shape
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self.shapes.values()))[0]
        shape = self.engine.items[name].shape
        return tuple(batch if size == "batch" else size if isinstance(size, int) else -1 for size in shape)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        if self._gpu.call("execute"):
            return False
        shapes = dict(self.shapes)
        self._gpu.put(stream, Work("detect", lambda: self._run(shapes)))
        return True

    def _run(self, shapes: dict[str, tuple[int, ...]]) -> None:
        feed = {}
        for name, shape in shapes.items():
            dtype = self.engine.get_tensor_dtype(name)
            block = self._gpu.bytes_at(self.addresses[name], int(np.prod(shape)) * np.dtype(dtype).itemsize)
            feed[name] = np.frombuffer(block, dtype).reshape(shape)
        for name, answer in zip(self.engine.answers, self.engine.session.run(None, feed), strict=True):
            content = np.ascontiguousarray(answer).tobytes()
            self._gpu.bytes_at(self.addresses[name], len(content))[:] = content


class Engine(Owned):
    def __init__(self, gpu: Gpu, plan: bytes) -> None:
        import onnxruntime

        super().__init__(gpu, "engine")
        self.gpu, self.session = gpu, onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self.given = [item.name for item in self.session.get_inputs()]
        self.answers = [item.name for item in self.session.get_outputs()]
        self.items = {item.name: item for item in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.items)

    def get_tensor_name(self, number: int) -> str:
        return [*self.given, *self.answers][number]

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.given else "output"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.items[name].shape)

    def get_tensor_dtype(self, name: str) -> str:
        kind = str(self.items[name].type)[7:-1]  # of "tensor(float)"
        return "float32" if kind == "float" else kind

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        shape = self.get_tensor_shape(name)
        return [tuple(batch if size < 0 else size for size in shape) for batch in (1, 2, LARGEST)]

    def create_execution_context(self) -> Context | None:
        return None if self.gpu.call("create context") else Context(self)


class Runtime(Owned):
    def __init__(self, gpu: Gpu, logger: Any) -> None:
        super().__init__(gpu, "runtime")
        self.gpu, self.logger = gpu, logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if self.gpu.call("deserialize"):
            self.logger.log("error", "the plan is of another version")
            return None
        return Engine(self.gpu, plan)


@pytest.fixture
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator[Gpu]:
    """Put a GPU and a TensorRT in the place of the real ones; each seed is another order of the work."""
    gpu = Gpu(seed=getattr(request, "param", 0))

    class Logger:
        ERROR, INTERNAL_ERROR, WARNING, INFO = "error", "internal error", "warning", "info"

    sdk = SimpleNamespace(
        __version__="10.3.0",
        ILogger=Logger,
        Runtime=lambda logger: Runtime(gpu, logger),
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        nptype=np.dtype,
        init_libnvinfer_plugins=lambda logger, namespace: True,
    )
    driver = Driver(gpu)
    monkeypatch.setattr(tensorrt_run, "cuda_driver", lambda: driver)
    monkeypatch.setattr(tensorrt_run, "load_sdk", lambda flavour: sdk)
    monkeypatch.setattr(plan, "device_here", lambda flavour: ORIN if flavour == "tensorrt" else None)
    yield gpu
    cuda_memory.primary_context.cache_clear()


def nothing_left(gpu: Gpu) -> None:
    assert gpu.problems == []
    assert sorted(gpu.live.values()) == []
    assert not any(gpu.stacks.values())


def pretend_built(path: Path, **changes: str) -> Path:
    """Put the ONNX file beside itself as the plan of this device."""
    plan = path.with_name(f"{path.stem}.tensorrt-10.3.0-SM87.plan")
    plan.write_bytes(path.read_bytes())
    about = {
        "target": "tensorrt 10.3.0 SM87 batch=1/2/8 gpu=Orin_(nvgpu)",
        "onnx_sha256": sha256_of(path),
        "plan_sha256": sha256_of(plan),
    }
    plan.with_suffix(".json").write_text(json.dumps(about | changes))
    return plan


@pytest.fixture(scope="module")
def raw() -> onnx.ModelProto:
    return onnx.load(shared_folder("data/detectors/yolox_nano.onnx"))


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    thermal = cv2.imread(str(shared_folder("data/thermal/tfw_3312.png")))
    assert thermal is not None
    whole = np.asarray(255 - thermal, np.uint8)
    parts = [whole, whole[:, 100:], whole[60:]]
    return [
        Frame(image_HWC=np.ascontiguousarray(part), time_s=0.0, index=0, camera=f"c{i}", modality="infrared")
        for i, part in enumerate(parts)
    ]


@pytest.mark.parametrize(
    ("form", "gpu"),
    [("free", 0), ("free", 1), ("free", 2), ("free", 3), ("yolov8", 4), ("labelled", 5), ("nms", 6)],
    indirect=["gpu"],
)
def test_a_gpu_finds_what_the_cpu_finds(
    form: str, raw: onnx.ModelProto, frames: list[Frame], gpu: Gpu, tmp_path: Path
) -> None:
    """A free batch, a fixed one, a second input, and outputs of whole numbers."""
    make = detector_graphs.free_batch if form == "free" else detector_graphs.FORMS[form]
    path = make(raw, tmp_path / "a.onnx")
    expected = open_detector(path, backend="onnxruntime").detect(frames)
    pretend_built(path)
    detector = open_detector(path)  # "auto": the GPU, since a plan for it is there
    assert detector.name.endswith(" on tensorrt")
    for _ in range(3):
        for found, truth in zip(detector.detect(frames), expected, strict=True):
            np.testing.assert_allclose(found.box_N4, truth.box_N4, atol=0.05)
            assert len(found) >= 2
    detector.close()
    detector.close()
    nothing_left(gpu)
    with pytest.raises(RuntimeError, match="the detector is closed"):
        detector.detect(frames)


def test_memory_is_taken_once(raw: onnx.ModelProto, frames: list[Frame], gpu: Gpu, tmp_path: Path) -> None:
    path = detector_graphs.free_batch(raw, tmp_path / "a.onnx")
    graph = TensorRtGraph(pretend_built(path), "tensorrt")
    taken = dict(gpu.live)
    for count in (1, 8, 3):
        (answer,) = graph([np.zeros((count, 3, 416, 416), np.float32)])
        assert answer.shape == (count, 3549, 85)
    assert gpu.live == taken
    with pytest.raises(RuntimeError, match=r"does not take \(9, 3, 416, 416\)"):
        graph([np.zeros((9, 3, 416, 416), np.float32)])
    graph.close()
    nothing_left(gpu)


@pytest.mark.parametrize("failing", ["deserialize", "create context", "mem_alloc", "pagelocked_empty", "stream"])
def test_a_failure_while_loading_leaves_nothing_behind(
    failing: str, raw: onnx.ModelProto, gpu: Gpu, tmp_path: Path
) -> None:
    path = detector_graphs.free_batch(raw, tmp_path / "a.onnx")
    plan = pretend_built(path)
    gpu.fails = failing
    with pytest.raises((BadInput, CudaError, Exception)) as failure:
        TensorRtGraph(plan, "tensorrt")
    if failing == "deserialize":
        assert "cannot load the plan (the plan is of another version); build it again" in str(failure.value)
    nothing_left(gpu)


def test_outputs_whose_size_depends_on_the_picture_are_refused(raw: onnx.ModelProto, gpu: Gpu, tmp_path: Path) -> None:
    path = detector_graphs.torchvision(raw, tmp_path / "a.onnx")
    pretend_built(path)
    with pytest.raises(BadInput, match=r"expected outputs of a fixed number of boxes on a GPU, got boxes \(\?, 4\)"):
        open_detector(path)
    nothing_left(gpu)


def test_without_a_plan_a_gpu_is_told_of_and_the_cpu_works(
    raw: onnx.ModelProto, gpu: Gpu, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(raw, str(path))
    with caplog.at_level(logging.WARNING):
        assert open_detector(path).name == "yolox on onnxruntime"
    assert "--auto-build builds one" in caplog.text
    with pytest.raises(BadInput, match=r"expected a plan for this device \(tensorrt 10.3.0, SM87, Orin"):
        open_detector(path, backend="tensorrt")
    with pytest.raises(BadInput, match="expected a GPU, pycuda and tensorrt-rtx for the detector"):
        open_detector(path, backend="tensorrt-rtx")


def test_a_missing_plan_is_built_where_that_was_asked_for(
    raw: onnx.ModelProto, gpu: Gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.onnx"
    onnx.save(raw, str(path))
    built: list[object] = []

    def build(source: Path, flavour: str, *, size_px: object) -> Path:
        built.append((source, flavour, size_px))
        return pretend_built(source)

    monkeypatch.setattr(plan, "build_detector_plan", build)
    assert open_detector(path, auto_build=True).name == "yolox on tensorrt"
    assert open_detector(path, auto_build=True).name == "yolox on tensorrt"
    assert built == [(path, "tensorrt", None)]  # the second time it was there


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"target": "tensorrt 10.3.0 SM89 batch=1/2/8"}, "it was built for SM89, here is SM87"),
        ({"target": "tensorrt 8.6.1 SM87 batch=1/2/8"}, "it was built with tensorrt 8.6.1, here is 10.3.0"),
        ({"onnx_sha256": "0"}, "it was built from another a.onnx"),
        ({"plan_sha256": "0"}, "it was changed behind its build"),
        ({"target": "?"}, "cannot be used: manifest: expected a plan's target"),
    ],
)
def test_a_plan_that_is_not_this_devices_is_not_run(
    changes: dict[str, str], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"a graph")
    plan = pretend_built(path)
    assert find_plan(path, ORIN) == plan
    pretend_built(path, **changes)
    with caplog.at_level(logging.WARNING):
        assert find_plan(path, ORIN) is None
    assert reason in caplog.text
    plan.unlink()
    assert find_plan(path, ORIN) is None


@needs_rtx
def test_a_plan_of_the_real_network_is_built_without_a_gpu(tmp_path: Path) -> None:
    path = tmp_path / "yolox_nano.onnx"
    path.write_bytes(shared_folder("data/detectors/yolox_nano.onnx").read_bytes())
    plan = build_detector_plan(path, "tensorrt-rtx", capabilities=("SM86",))
    about = json.loads(plan.with_suffix(".json").read_text())
    version = about["target"].split()[1]
    assert plan.name == f"yolox_nano.tensorrt-rtx-{version}-SM86.plan"
    assert plan.stat().st_size > 3_000_000  # 0.9 million weights in FP32 are in it
    rtx = Device(flavour="tensorrt-rtx", version=version, capability="SM86", gpu="GeForce RTX 3060")
    assert find_plan(path, rtx) == plan
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(
        [path.name, plan.name, plan.with_suffix(".json").name]
    )


@needs_rtx
def test_a_free_batch_gets_a_profile(raw: onnx.ModelProto, tmp_path: Path) -> None:
    path = detector_graphs.free_batch(raw, tmp_path / "free.onnx")
    plan = build_detector_plan(path, "tensorrt-rtx", capabilities=("SM86", "SM89"))
    assert "SM86-SM89" in plan.name


@needs_rtx
def test_a_graph_that_the_builder_refuses_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no graph")
    with pytest.raises(BadInput, match=r"a.onnx: tensorrt-rtx .* refuses the graph"):
        build_detector_plan(path, "tensorrt-rtx", capabilities=("SM86",))
    assert [item.name for item in tmp_path.iterdir()] == ["a.onnx"]
    with pytest.raises(BadInput, match=r"expected compute capabilities out of .*, got SM12"):
        build_detector_plan(path, "tensorrt-rtx", capabilities=("SM12",))
