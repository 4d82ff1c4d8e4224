"""The TensorRT runtime on a simulated GPU: right vectors in every order of work, nothing left behind any failure."""

from __future__ import annotations

import contextlib
import importlib
import json
import logging
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from engines import cuda_memory, tensorrt_backend
from engines.errors import BadInput
from engines.loaded import HINTS, LoadOptions
from engines.manifest import Graph, Manifest
from engines.tensorrt_backend import MAX_GRAPHS, TensorRtRun
from tests.engines.cuda_fakes import CudaError, Driver, Gpu
from tests.engines.libcuda_fake import LibCuda
from tests.engines.tensorrt_bindings import ROOT, RTX, Unavailable, stub_folder, wheel_folder
from tests.engines.tensorrt_bindings import VERSIONS as REAL_VERSIONS
from tests.engines.tensorrt_simulation import DIM, HEIGHT, IMAGE_BYTES, VERSIONS, WIDTH, Plan, expected, sdk_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    from engines.loaded import Hint

WITH_GRAPHS = ("10.0.1", "10.3.0", "11.4.1")
SEEDS = range(12)
USUAL = Plan()


def pixels(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, count)).integers(0, 256, (count, HEIGHT, WIDTH, 3), dtype=np.uint8)


def options_of(hint: Hint = "latency", target: str = "tensorrt 10.3.0 SM87 batch=1/4/8") -> LoadOptions:
    graph = Graph(file="x.plan", sha256="", modality="visible", precision="fp16", form="tensorrt", target=target)
    manifest = Manifest(method="m", height_px=HEIGHT, width_px=WIDTH, embedding_dim=DIM, graphs=(graph,))
    return LoadOptions(graph=graph, manifest=manifest, hint=hint)


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Callable[..., Callable[..., TensorRtRun]]]:
    """Put a GPU and a TensorRT in the place of the real ones; return a function that loads a plan there."""

    def put(gpu: Gpu, version: str = "10.3.0", **named: Any) -> Callable[..., TensorRtRun]:
        cuda, sdk = Driver(gpu), sdk_of(gpu, version, **named)
        monkeypatch.setattr(tensorrt_backend, "cuda_driver", lambda: cuda)
        monkeypatch.setattr(tensorrt_backend, "load_sdk", lambda flavour: sdk)
        monkeypatch.setattr(tensorrt_backend, "load_libcuda", lambda: LibCuda(gpu))

        def load(plan: Plan = USUAL, options: LoadOptions | None = None) -> TensorRtRun:
            path = tmp_path / "x.plan"
            path.write_text(repr(tuple(plan)))
            return TensorRtRun(path, options or options_of(), "tensorrt-rtx" if "rtx" in version else "tensorrt")

        return load

    yield put
    cuda_memory.primary_context.cache_clear()


def nothing_left(gpu: Gpu) -> None:
    assert gpu.problems == [], (gpu.fail_at, gpu.calls[(gpu.fail_at or 1) - 1])
    assert sorted(gpu.live.values()) == []
    assert gpu.recording == {}
    assert not any(gpu.stacks.values())


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_batch_gives_its_own_vectors(simulate: Any, version: str, hint: Hint) -> None:
    """Each seed is another order of the work; 21 images are three chunks of a profile for 8."""
    for seed in SEEDS:
        gpu = Gpu(seed=seed)
        run = simulate(gpu, version)(options=options_of(hint))
        for count in (1, 3, 8, 21, 40, 3, 1, 21):
            image_BHWC = pixels(count, seed)
            np.testing.assert_array_equal(run(image_BHWC), expected(image_BHWC))
        run.close()
        nothing_left(gpu)


def test_a_strided_batch_is_taken_and_a_result_is_kept(simulate: Any) -> None:
    gpu = Gpu()
    run = simulate(gpu)()
    image_BHWC = pixels(12)
    image_BHWC.flags.writeable = False
    first_BD = run(image_BHWC[::2])
    run(pixels(8, 5))
    np.testing.assert_array_equal(first_BD, expected(image_BHWC[::2]))
    run.close()
    np.testing.assert_array_equal(first_BD, expected(image_BHWC[::2]))


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_a_batch_below_the_profile_is_filled_up_and_cut(simulate: Any, hint: Hint) -> None:
    gpu = Gpu()
    run = simulate(gpu)(Plan(profile=(4, 4, 4)), options_of(hint))
    for count in (1, 4, 6, 6, 1):
        np.testing.assert_array_equal(run(pixels(count)), expected(pixels(count)))
    run.close()
    nothing_left(gpu)


def test_the_next_chunk_is_copied_in_while_one_computes(simulate: Any) -> None:
    """The second chunk is on its way before anybody waits for the first; the third waits for the first only."""
    gpu = Gpu()
    run = simulate(gpu)(options=options_of("throughput"))
    before = len(gpu.calls)
    run(pixels(24))
    order = [name for name in gpu.calls[before:] if name in ("htod", "execute", "dtoh", "event.synchronize")]
    send, wait = ["htod", "execute", "dtoh"], ["event.synchronize"]
    assert order == [*send, *send, *wait, *send, *wait, *wait]
    assert any(copied_while_computing(simulate, seed) for seed in SEEDS)


def copied_while_computing(simulate: Any, seed: int) -> bool:
    """Say whether the GPU of this seed copied the second chunk in before it had computed the first."""
    gpu = Gpu(seed=seed)
    simulate(gpu)(options=options_of("throughput"))(pixels(16))
    work = [name for name in gpu.ran if name in ("htod", "reduce")]
    return work == ["htod", "htod", "reduce", "reduce"]


def test_memory_is_taken_once(simulate: Any) -> None:
    gpu = Gpu()
    run = simulate(gpu)(options=options_of("throughput"))
    taken = dict(gpu.live)
    for count in (1, 8, 21, 2):
        run(pixels(count))
    assert gpu.live == taken
    kinds = sorted(taken.values())
    assert kinds.count("device memory") == 5  # scratch, and pixels and vectors of two slots
    assert kinds.count("page-locked memory") == 4
    run.close()


@pytest.mark.parametrize("version", WITH_GRAPHS)
def test_a_graph_is_recorded_once_for_a_batch_size(simulate: Any, version: str) -> None:
    gpu = Gpu()
    run = simulate(gpu, version)()
    for _ in range(3):
        for count in (2, 5):
            np.testing.assert_array_equal(run(pixels(count)), expected(pixels(count)))
    assert gpu.calls.count("begin capture") == 2
    assert gpu.calls.count("launch") == 4
    # Four chunks go through two slots with an address each: 8 and 8, then 8 again from its graph, then 2 from slot 1.
    np.testing.assert_array_equal(run(pixels(26)), expected(pixels(26)))
    assert gpu.calls.count("begin capture") == 5
    assert gpu.calls.count("launch") == 5
    run.close()
    nothing_left(gpu)


def test_the_number_of_graphs_is_bounded(simulate: Any) -> None:
    gpu = Gpu()
    run = simulate(gpu)(Plan(profile=(1, 4, MAX_GRAPHS + 4)))
    for count in range(1, MAX_GRAPHS + 5):
        np.testing.assert_array_equal(run(pixels(count)), expected(pixels(count)))
    assert gpu.calls.count("begin capture") == MAX_GRAPHS
    run.close()
    nothing_left(gpu)


@pytest.mark.parametrize(
    ("version", "hint", "target"),
    [
        ("8.6.1", "latency", "tensorrt 8.6.1 SM87 batch=1/4/8"),
        ("rtx 1.7.1", "latency", "tensorrt-rtx 1.7.1 SM86 batch=1/4/8"),
        ("10.3.0", "throughput", "tensorrt 10.3.0 SM87 batch=1/4/8"),
        ("10.3.0", "latency", "tensorrt 10.3.0 SM87 batch=1/4/8 dla=1"),
    ],
)
def test_no_graph_where_none_can_be(simulate: Any, version: str, hint: Hint, target: str) -> None:
    gpu = Gpu()
    runtimes: list[Any] = []
    run = simulate(gpu, version, seen=runtimes.append)(options=options_of(hint, target))
    run(pixels(3))
    run(pixels(3))
    assert "begin capture" not in gpu.calls
    assert runtimes[0].DLA_core == (1 if "dla" in target else -1)
    runtimes.clear()
    run.close()
    nothing_left(gpu)


@pytest.mark.parametrize(("hint", "own"), [("latency", True), ("throughput", False)])
def test_rtx_records_by_itself(simulate: Any, hint: Hint, own: bool) -> None:
    run = simulate(Gpu(), "rtx 1.7.1")(options=options_of(hint))
    assert run._engine.with_own_graphs is own
    run.close()


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        ("begin capture", "cuStreamBeginCapture_v2 gave CUDA error 2"),
        ("end capture", "cuStreamEndCapture gave CUDA error 901"),
        ("instantiate", "cuGraphInstantiateWithFlags gave CUDA error 2"),
        ("destroy graph", "cuGraphDestroy gave CUDA error 700"),
        ("create context", "{path}: tensorrt could not start the plan (cannot create a context); rebuild it"),
    ],
)
def test_a_failed_recording_is_logged_once_and_the_run_goes_on(
    simulate: Any, caplog: pytest.LogCaptureFixture, tmp_path: Path, fails: str, reason: str
) -> None:
    gpu = Gpu()
    run = simulate(gpu)()
    run(pixels(5))
    gpu.fails = fails
    with caplog.at_level(logging.WARNING):
        for count in (2, 2, 3, 5):
            np.testing.assert_array_equal(run(pixels(count)), expected(pixels(count)))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [f"x.plan: going on without CUDA graphs: {reason.format(path=tmp_path / 'x.plan')}"]
    assert gpu.calls.count("launch") == 1  # what was recorded before is still used
    run.close()
    nothing_left(gpu)


def use_and_close(load: Callable[..., TensorRtRun], options: LoadOptions) -> None:
    """Load, embed three batches, two of them behind a possible failure, close twice."""
    run = load(options=options)
    try:
        failures = 0
        for count in (2, 21, 2, 21, 3):
            try:
                np.testing.assert_array_equal(run(pixels(count)), expected(pixels(count)))
            except (CudaError, RuntimeError):
                failures += 1
        assert failures <= 1  # one failed call costs one batch; the next ones are right
    finally:
        run.close()
        run.close()


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_failure_of_any_call_leaves_nothing_behind(
    simulate: Any, version: str, hint: Hint, caplog: pytest.LogCaptureFixture
) -> None:
    """Every CUDA and TensorRT call of loading, embedding and closing fails once, under several orders of work."""
    caplog.set_level(logging.CRITICAL)
    whole = Gpu()
    use_and_close(simulate(whole, version), options_of(hint))
    nothing_left(whole)
    assert len(whole.calls) > 90
    for number in range(1, len(whole.calls) + 1):
        gpu = Gpu(seed=number, fail_at=number)
        with contextlib.suppress(BadInput, CudaError, RuntimeError, TypeError):
            use_and_close(simulate(gpu, version), options_of(hint))
        nothing_left(gpu)


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_several_threads_share_two_engines(simulate: Any, version: str) -> None:
    """Four threads, two engines in one context; loaded in this thread, closed in another."""
    gpu = Gpu(seed=3)
    runs = [simulate(gpu, version)(), None]
    runs[1] = TensorRtRun(runs[0]._path, options_of("throughput"), "tensorrt")
    wrong: list[str] = []

    def use(number: int) -> None:
        for turn in range(15):
            image_BHWC = pixels((1, 3, 11, 21)[(number + turn) % 4], number)
            found_BD = runs[turn % 2](image_BHWC)
            if not np.array_equal(found_BD, expected(image_BHWC)):
                wrong.append(f"thread {number}, turn {turn}")

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        in_threads(*(lambda number=number: use(number) for number in range(4)))
    finally:
        sys.setswitchinterval(usual)
    assert wrong == []
    in_threads(runs[0].close, runs[1].close)
    nothing_left(gpu)


def test_closing_waits_for_the_batches_of_other_threads(simulate: Any) -> None:
    gpu = Gpu(seed=4)
    run = simulate(gpu)()
    started = threading.Barrier(4)
    wrong: list[str] = []

    def use() -> None:
        started.wait()
        try:
            for _ in range(1000):
                if not np.array_equal(run(pixels(11)), expected(pixels(11))):
                    wrong.append("wrong vectors")
        except RuntimeError as error:
            wrong.extend([] if "the engine is closed" in str(error) else [str(error)])

    def close() -> None:
        started.wait()
        time.sleep(0.02)
        run.close()

    in_threads(use, use, close, close)
    assert wrong == []
    nothing_left(gpu)


def in_threads(*bodies: Callable[[], object]) -> None:
    threads = [threading.Thread(target=body) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_a_dead_device_does_not_hide_the_first_error(simulate: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu = Gpu()
    run = simulate(gpu)()

    def fail_and_close() -> None:
        try:
            gpu.fails = "execute"
            run(pixels(3))
        finally:
            gpu.dead = True
            run.close()

    with pytest.raises(RuntimeError, match=r"could not run a batch of 3 \(an illegal memory access was encountered\)$"):
        fail_and_close()
    assert "could not enter the CUDA context to close: cuCtxPushCurrent failed" in caplog.text
    assert gpu.live == {}


def test_a_device_that_dies_in_a_batch_gives_its_own_error(simulate: Any) -> None:
    gpu = Gpu()
    run = simulate(gpu)()
    gpu.dies_at = "htod"
    with pytest.raises(CudaError, match=r"^htod failed$"):
        run(pixels(3))
    run.close()
    assert gpu.live == {}


def test_a_closed_engine_says_so(simulate: Any) -> None:
    run = simulate(Gpu())()
    run.close()
    with pytest.raises(RuntimeError, match=r"x\.plan: the engine is closed; open it again$"):
        run(pixels(1))


# Scratch memory for 8 images of 24 bytes, and two slots of 8 images and 8 vectors of 16 bytes: 192 + 2 * 8 * (24 + 16).
NEEDED_BYTES = 8 * IMAGE_BYTES + 2 * 8 * (IMAGE_BYTES + 4 * DIM)


def test_too_little_memory_is_one_line_with_both_figures(simulate: Any) -> None:
    big = Plan(profile=(1, 4, 500_000))
    gpu = Gpu(free_bytes=30_000_000)
    with pytest.raises(BadInput) as caught:
        simulate(gpu)(big)
    # 24 + 2 * (24 + 16) bytes an image; what was free before this run took the first of it.
    assert str(caught.value).endswith(
        "x.plan: expected 52 MB of free GPU memory, got 30 MB; close what else uses the GPU, or build for a smaller "
        "batch"
    )
    nothing_left(gpu)


@pytest.mark.parametrize("missing", [1, NEEDED_BYTES // 2, NEEDED_BYTES])
def test_memory_that_fits_to_the_byte_is_enough(simulate: Any, missing: int) -> None:
    enough = Gpu(free_bytes=NEEDED_BYTES)
    run = simulate(enough)(options=options_of("throughput"))
    run(pixels(8))
    run.close()
    nothing_left(enough)
    assert enough.free_bytes == NEEDED_BYTES
    short = Gpu(free_bytes=NEEDED_BYTES - missing)
    with pytest.raises(BadInput, match="of free GPU memory"):
        simulate(short)()
    nothing_left(short)
    assert short.free_bytes == NEEDED_BYTES - missing


@pytest.mark.parametrize(
    ("plan", "got"),
    [
        (Plan(pixels="FLOAT"), "FLOAT ('B', 4, 2, 3) to FLOAT ('B', 4)"),
        (Plan(vectors="HALF"), "UINT8 ('B', 4, 2, 3) to HALF ('B', 4)"),
        (Plan(image=(2, 4, 3)), "UINT8 ('B', 2, 4, 3) to FLOAT ('B', 4)"),
        (Plan(dim=8), "UINT8 ('B', 4, 2, 3) to FLOAT ('B', 8)"),
    ],
)
def test_a_plan_of_another_type_or_size_is_refused(simulate: Any, plan: Plan, got: str) -> None:
    gpu = Gpu()
    with pytest.raises(BadInput) as caught:
        simulate(gpu)(plan)
    assert str(caught.value).partition("x.plan: ")[2] == (
        f"expected a plan from UINT8 ('B', 4, 2, 3) to FLOAT ('B', 4), as the manifest says, got {got}; rebuild it"
    )
    assert "device memory" not in gpu.calls
    nothing_left(gpu)


def test_a_plan_with_two_outputs_is_refused(simulate: Any) -> None:
    gpu = Gpu()
    with pytest.raises(BadInput, match=r"one input and one output, got pixels, embedding, logits; rebuild it$"):
        simulate(gpu)(Plan(names=("pixels", "embedding", "logits")))
    nothing_left(gpu)


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("no such tag", "tensorrt 10.3.0 cannot load the plan (no such tag); build it on this device"),
        ("Cuda failure: out of memory", "expected 0 MB of free GPU memory, got 1074 MB; close what else uses the GPU, "
         "or build for a smaller batch"),
    ],
)  # fmt: skip
def test_a_plan_that_tensorrt_refuses_gives_its_first_reason(simulate: Any, reason: str, line: str) -> None:
    gpu = Gpu()
    gpu.fails = "deserialize"
    load = simulate(gpu, refusal=reason)
    with pytest.raises(BadInput) as caught:
        load()
    assert str(caught.value).partition("x.plan: ")[2] == line
    nothing_left(gpu)


SCRATCH = {
    "8.6.1": ["ICudaEngine.device_memory_size", "IExecutionContext.device_memory"],
    RTX: ["ICudaEngine.device_memory_size_v2", "IExecutionContext.set_device_memory"],
}


@pytest.mark.parametrize("hint", HINTS)
@pytest.mark.parametrize("version", REAL_VERSIONS)
def test_the_runtime_fits_the_real_bindings(version: str, hint: Hint) -> None:
    """A missing name, a wrong argument or a property that cannot be set would have ended the program."""
    try:
        if version == RTX:
            importlib.import_module("tensorrt_rtx_bindings")
        else:
            wheel_folder(version)
            stub_folder(version.split(".")[0])
    except (Unavailable, ImportError) as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "tests.engines.runtime_program", version, hint]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert (found["problems"], found["live"]) == ([], 0)
    scratch = [name for name in found["touched"] if "device_memory" in name]
    assert scratch == ["ICudaEngine.create_execution_context_without_device_memory"] * (
        version == "8.6.1"
    ) + SCRATCH.get(version, SCRATCH[RTX])
    own_graphs = version not in ("8.6.1", RTX) and hint == "latency"
    assert ("begin capture" in found["calls"]) == own_graphs
    rtx_graphs = version == RTX and hint == "latency"
    assert ("CudaGraphStrategy.WHOLE_GRAPH_CAPTURE" in found["touched"]) == rtx_graphs
