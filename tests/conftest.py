"""What several folders of tests share: a small tree and engine folders built from it, each made once a session."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.project.fast_tests import MARKER, Watch, is_fast
from tests.small_tree import write_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from train.datasets.images import ImageRecord


exit_status = pytest.StashKey[int]()
watch = Watch()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if config.option.markexpr == "fast":
        sys.addaudithook(watch.audit)


@pytest.hookimpl(tryfirst=True)  # before -m is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if is_fast(item):
            item.add_marker("fast")


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.markexpr == "fast" and "torch" in sys.modules:
        from torch.optim.optimizer import register_optimizer_step_pre_hook

        register_optimizer_step_pre_hook(watch.step)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if item.config.option.markexpr == "fast":  # make check
        watch.begin(item.nodeid)
    try:
        return (yield)
    finally:
        watch.end()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[exit_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End with pytest's own status, without the destructors of the native libraries.

    This process alone loads OpenVINO, ONNX Runtime, TensorRT-RTX, PyTorch and scikit-learn together. Behind a passed
    suite it was aborted at exit ("The futex facility returned an unexpected error code"); no part of the suite that was
    tried alone does that, nor does any script of the demo. The cause was not found (train/LOG.md).
    """
    if exit_status in config.stash:
        config.get_terminal_writer().flush()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[exit_status])


@pytest.fixture(scope="session")
def session_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six people to train and calibrate on, four to judge with; 64 x 32 pixels. Read only."""
    return write_tree(tmp_path_factory.mktemp("tree"), train=6, val=4, test=2, size=(64, 32))


@pytest.fixture(scope="session")
def engine_of(tmp_path_factory: pytest.TempPathFactory, session_tree: Path) -> Callable[[str], Path]:
    """Return the engine folder of a method's small random network, built when first asked for. Read only."""
    built: dict[str, Path] = {}

    def engine(name: str) -> Path:
        if name not in built:
            pytest.importorskip("torch", reason="needs torch to build an engine")
            from calib import drift
            from deploy.building.build import build_engine
            from deploy.building.request import BuildRequest
            from tests.small_engine import NO_LIMITS, save_random_checkpoint

            folder = tmp_path_factory.mktemp(name)
            checkpoint = save_random_checkpoint(name, session_tree, folder / "run" / "checkpoint.pt")
            request = BuildRequest(
                model=checkpoint,
                out=folder / "built",
                calibration_images=48,
                parity_images=48,
                backend="openvino",  # no plans: tests/engines/test_tensorrt_build.py builds one
                opset17=True,
                accept_drift=True,
                max_map_drop=100.0,
            )
            with pytest.MonkeyPatch.context() as patch:
                # Random weights: tests/parity has their limits, tests/deploy/building/test_int8.py what a build does.
                patch.setitem(drift.LIMITS, "int8", NO_LIMITS)
                built[name] = build_engine(request)
        return built[name]

    return engine


@pytest.fixture(scope="session")
def reference_of(
    engine_of: Callable[[str], Path], session_tree: Path
) -> Callable[[str], tuple[list[ImageRecord], NDArray[np.float32]]]:
    """Return the judging images and a method's PyTorch embeddings of them; loading the program takes seconds."""
    found: dict[str, tuple[list[ImageRecord], NDArray[np.float32]]] = {}

    def reference(name: str) -> tuple[list[ImageRecord], NDArray[np.float32]]:
        if name not in found:
            from deploy.building.parity_check import embed_records
            from train.datasets.sysu import open_sysu

            records = open_sysu(session_tree).split("val")
            found[name] = records, embed_records(engine_of(name), records, "torch", "fp32")
        return found[name]

    return reference


@pytest.fixture(scope="session")
def engine_folder(engine_of: Callable[[str], Path]) -> Path:
    """An engine of two streams: four ONNX graphs, two PyTorch programs. Read only."""
    return engine_of("baseline")
