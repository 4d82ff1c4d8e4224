"""The script as a user types it: exit codes, messages, files, and a device that has neither PyTorch nor matplotlib."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest

from deploy.check_parity import main
from deploy.parity import compare
from deploy.parity.reference import REFERENCE_NAME
from engines.errors import BadInput
from engines.manifest import MODALITIES, Graph, load_manifest, sha256_of
from engines.open import RUNTIMES
from tests.exit_code import exit_code
from tests.parity.engine_copies import change_constant, change_graph, engine_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from engines.backend import Backend
    from train.datasets.images import ImageRecord

ROOT = Path(__file__).resolve().parents[2]
FLAGS = {
    "--help", "--version", "--data", "--images", "--backend", "--precision", "--max-map-drop", "--json", "--picture",
    "--junit",
}  # fmt: skip


@pytest.fixture
def engine(
    engine_folder: Path,
    reference_of: Callable[[str], tuple[list[ImageRecord], NDArray[np.float32]]],
    session_tree: Path,
    tmp_path: Path,
) -> Path:
    """A folder with its reference, which a test may spoil."""
    return engine_copy(engine_folder, tmp_path / "door", session_tree, *reference_of("baseline"))


def run_without(modules: list[str], *arguments: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """Run the script in a process of its own in which the modules cannot be imported."""
    code = (
        f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"from deploy.check_parity import main\ncode = main({list(arguments)!r})\n{after}\nsys.exit(code)\n"
    )
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd="/")


def test_a_device_without_torch_checks_an_engine(engine: Path, tmp_path: Path) -> None:
    """As on a Jetson: NumPy, Pillow and the runtimes, the folder, and the images."""
    files = {name: tmp_path / name for name in ("figures.json", "cases.xml", "parity.png")}
    done = run_without(
        ["torch", "torchvision", "lightning_fabric"],
        *(str(engine), "--precision", "fp32", "--json", str(files["figures.json"])),
        *("--junit", str(files["cases.xml"]), "--picture", str(files["parity.png"])),
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["parity holds"]), done.stdout + done.stderr
    found = json.loads(files["figures.json"].read_text())
    assert [row["engine"] for row in found["engines"]] == ["openvino fp32", "onnxruntime fp32"]
    assert ElementTree.fromstring(files["cases.xml"].read_text()).get("failures") == "0"
    assert files["parity.png"].read_bytes().startswith(b"\x89PNG")


def test_a_device_without_onnx_and_onnxruntime_says_what_it_leaves_out(engine: Path) -> None:
    done = run_without(["torch", "onnx", "onnxruntime"], str(engine), "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert "not run: onnxruntime fp32: needs onnxruntime, not installed" in done.stdout
    assert "not run: onnx fp32: needs onnxruntime, not installed" in done.stdout


def test_a_broken_limit_is_exit_code_1(engine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_graph(
        engine, lambda model: change_constant(model, "mean_C11", lambda mean: mean[::-1].copy()), "visible", "fp32"
    )
    assert main([str(engine), "--precision", "fp32", "--junit", str(tmp_path / "cases.xml")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "parity FAILED"
    assert lines[-2].startswith("the loss is at onnx fp32 against pytorch fp32: ")
    # Two runtimes, the file as written, and the file of opset 17, which was made from the graph before it was spoilt.
    assert ElementTree.fromstring((tmp_path / "cases.xml").read_text()).get("failures") == "4"


def test_fewer_images_may_be_compared(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(engine), "--precision", "fp32", "--backend", "openvino", "--images", "60"]) == 0
    text = capsys.readouterr().out
    assert "on 60 held-out images" in text
    assert "onnxruntime fp32" not in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--images", "1"], "expected at least 2 images to compare, got 1"),
        (["--backend", "tflite"], "--backend: expected auto, tensorrt, "),
        (["--data", "/nowhere"], "expected the folder with the held-out images, got /nowhere, which does not exist"),
        (["--picture", "parity.pdf"], "--picture: expected a file name that ends in .png, got parity.pdf"),
        (["--backend", "tensorrt"], "expected an engine for tensorrt in fp32 or fp16 or int8, got none"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], expected: str, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(main, [str(engine), *arguments]) == 2
    output = capsys.readouterr()
    assert expected in output.err
    assert output.err.count("\n") == 1
    assert output.out == ""


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / REFERENCE_NAME).unlink(), "expected reference.npz, which is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "expected an engine folder with manifest.json"),
        (lambda folder: _cut(folder / "visible.fp32.onnx"), "the file was changed or damaged"),
        (lambda folder: _cut(folder / REFERENCE_NAME), "the file was changed or damaged"),
    ],
)
def test_a_damaged_folder_is_one_line(
    spoil: Callable[[Path], None], expected: str, engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(engine)
    assert main([str(engine)]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def add_plan(folder: Path) -> Path:
    """List a plan for another device; its bytes are not a plan's, for nothing here may try to load it."""
    path = folder / "model.int8.tensorrt-10.3.0-SM87.plan"
    path.write_bytes(b"plan")
    manifest = load_manifest(folder)
    plans = [
        Graph(
            file=path.name,
            sha256=sha256_of(path),
            modality=modality,
            precision="int8",
            form="tensorrt",
            target="tensorrt 10.3.0 SM87 batch=1/8/32",
        )
        for modality in MODALITIES
    ]
    dataclasses.replace(manifest, graphs=(*manifest.graphs, *plans)).save(folder)
    return path


@pytest.mark.skipif(not RUNTIMES["tensorrt"].missing(), reason="TensorRT is installed here")
def test_a_plan_without_its_library_is_skipped_with_the_reason(
    engine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_plan(engine)
    main([str(engine), "--precision", "int8"])
    assert "not run: tensorrt int8: needs tensorrt" in capsys.readouterr().out
    assert main([str(engine), "--precision", "int8", "--backend", "tensorrt"]) == 2


def test_a_plan_for_another_device_is_skipped_and_nothing_else_is(
    engine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_plan(engine)
    opened = compare.open_engine

    def open_engine(folder: Path, *, backend: str, precision: str) -> Backend:
        if backend == "tensorrt":
            raise BadInput("it was built for SM87, here is SM90")
        if backend == "onnxruntime":
            raise BadInput("cannot load it")
        return opened(folder, backend=backend, precision=precision)

    monkeypatch.setattr(compare, "open_engine", open_engine)
    monkeypatch.setattr(compare, "_cannot_run", lambda name: None)
    assert main([str(engine), "--precision", "int8"]) == 1
    text = capsys.readouterr().out
    assert "not run: tensorrt int8: it was built for SM87, here is SM90" in text
    assert "over the limit: tensorrt" not in text
    assert "over the limit: onnxruntime int8: cannot load it" in text


def test_a_plan_with_a_changed_byte_is_refused(engine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_plan(engine).write_bytes(b"plan?")
    assert main([str(engine)]) == 2
    assert "the file was changed or damaged" in capsys.readouterr().err


def _cut(path: Path) -> None:
    """Take the last byte away; the link's other name keeps its own."""
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:-1])


def test_another_picture_in_the_tree_is_named(engine: Path, session_tree: Path, tmp_path: Path) -> None:
    from deploy.parity.reference import load_reference

    tree = tmp_path / "tree"
    names = [load_reference(engine).name(index) for index in range(72)]
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(session_tree / name, tree / name)
    (tree / names[5]).unlink()
    (tree / names[5]).write_bytes((tree / names[6]).read_bytes())
    done = run_without(["torch"], str(engine), "--data", str(tree))
    assert done.returncode == 2
    assert f"got 1 with other bytes ({names[5]})" in done.stderr


def test_without_matplotlib_the_picture_is_refused_before_any_work(engine: Path, tmp_path: Path) -> None:
    engine.joinpath(REFERENCE_NAME).unlink()  # what would be said first
    picture = tmp_path / "parity.png"
    done = run_without(["matplotlib"], str(engine), "--picture", str(picture))
    assert done.returncode == 2
    assert done.stderr.startswith("check_parity: --picture needs matplotlib, which is not installed")
    assert done.stderr.count("\n") == 1
    assert not picture.exists()


def test_help_loads_no_heavy_module() -> None:
    heavy = ["numpy", "cv2", "PIL", "torch", "onnx", "onnxruntime", "openvino", "matplotlib", "tensorrt", "pycuda"]
    code = (
        "import sys\nsys.path.insert(0, sys.argv[1])\nfrom deploy.check_parity import parser\n"
        "try:\n    parser().parse_args(['--help'])\nexcept SystemExit:\n"
        f"    print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_flags_are_these(capsys: pytest.CaptureFixture[str]) -> None:
    """A new flag is a decision."""
    with pytest.raises(SystemExit):
        main(["--help"])
    words = capsys.readouterr().out.split("examples:")[0].replace(",", " ").replace("[", " ").replace("]", " ").split()
    assert {word for word in words if word.startswith("--")} == FLAGS


def test_a_named_backend_that_is_not_installed_says_what_it_needs(engine: Path) -> None:
    missing = RUNTIMES["openvino"].needs
    done = run_without([*missing], str(engine), "--backend", "openvino")
    assert done.returncode == 2
    assert "openvino fp32: needs openvino, not installed" in done.stderr
