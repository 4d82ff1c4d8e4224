"""Files in JSON: whatever is in them, a reader gives a value of the declared types or refuses it in one line."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

from hypothesis import given

from calib.table import CalibrationTable, load_table
from deploy.alignment.alignment import load_alignment
from deploy.detection.file_detector import FileDetector
from deploy.detection.heads import FORMS
from deploy.detection.plan import find_plan
from deploy.detection.sidecar import load_sidecar
from deploy.scoring.files import read_run, read_truth
from deploy.scoring.score import score
from deploy.thresholds.thresholds import from_manifest, load_thresholds
from engines.choose_plan import Device
from engines.manifest import load_manifest, verified_path
from engines.model_id import model_id
from tests.fuzz.harness import attempt, check_types
from tests.fuzz.mutations import json_bytes, json_lines
from train.datasets.listing import list_tree
from train.methods.baseline import BaselineRecipe
from train.recipe import read_recipe_values, replace_checked, save_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Put = Callable[[bytes, str], Path]

TAIL = {"rates": [0.5, 0.1, 0.01], "cosines": [0.1, 0.4, 0.7], "slope": 0.05, "pairs": 900, "people": 40}
DIRECTION = {"tails": [{**TAIL, "effective_pairs": 320.5}], "genuine": [0.5, 0.8, 0.9], "genuine_pairs": 50}
DIRECTIONS = {"together": DIRECTION, "visible->infrared": DIRECTION}
GRAPH = {
    "file": "visible-int8.onnx",
    "sha256": "ab" * 32,
    "modality": "visible",
    "precision": "int8",
    "form": "onnx",
    "target": "",
}
PLAN = {**GRAPH, "file": "v.plan", "form": "tensorrt", "target": "tensorrt 10.3.0 SM87 batch=1/8/32"}
MANIFEST: dict[str, Any] = {
    "method": "baseline",
    "height_px": 384,
    "width_px": 192,
    "embedding_dim": 2048,
    "graphs": [GRAPH, PLAN],
    "recipe": {"lr": 0.1, "milestones": [20, 40]},
    "dataset": {"name": "sysu"},
    "metrics": {"mAP": 0.5},
    "calibration": {"images": 48},
    "parity": {"int8": {"worst_cosine": 0.99}},
    "reference": {"file": "reference.npz", "sha256": "cd" * 32},
    "matching": {"threshold": 0.6, "false_match_rate": 0.01, "directions": DIRECTIONS, "source": "val"},
    "tools": {"numpy": "2.0"},
    "git_revision": "abc",
    "created": "2026-11-21T00:00:00+00:00",
    "format": 1,
}
THRESHOLDS = {
    "format": 1,
    "model": "m",
    "engine": "baseline",
    "created": "2026-11-21",
    "source": "site",
    "false_match_rate": 0.01,
    "directions": DIRECTIONS,
}
ALIGNMENT = {
    "visible_px": [1280, 720],
    "infrared_px": [640, 512],
    "matrix": [2.0, 0.01, 5.0, 0.0, 2.0, 7.0, 0.0, 1e-5, 1.0],
    "shift": [3.0, 0.1],
    "residual_px": 1.5,
    "residual_p95_px": 3.0,
    "views": 12,
    "points": 48,
    "model": "homography",
    "created": "2026-11-21",
    "format": 1,
}
TABLE = {
    "graph_sha256": "ab" * 32,
    "range_method": "entropy",
    "images": 48,
    "images_sha256": "cd" * 32,
    "list_sha256": "ef" * 32,
    "amax": {"image": 2.5, "conv": 0.0},
    "lowest": {"image": -2.0, "conv": 0},
    "format": 2,
}
SIDECAR = {
    "head": "yolov8",
    "colour": "rgb",
    "scale": 0.0039,
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
    "resize": "letterbox",
    "fill": 114,
    "person": 0,
    "size": [640, 640],
}
TRACK = {"camera": "door", "track": 1}
BOX = [10.0, 20.0, 30.0, 90.0]
RUN = [
    {"event": "run", "schema": 2, "false_match_rate": 0.01},
    {"event": "box", "frame": 0, "camera": "door", "track": 1, "box_px": BOX, "score": 0.9},
    {"event": "sighting", "camera": "door", "modality": "visible", "track": 1, "identity": 1, "matched_track": TRACK},
    {"event": "merge", "kept": 2, "absorbed": 1},
    {"event": "split", "track": TRACK, "before": 2, "after": 3},
    {"event": "merge", "kept": 1, "absorbed": 3},
    {"event": "revision", "track": TRACK, "before": 2, "after": 3},
    {"event": "track", "camera": "door", "modality": "visible", "track": 1, "identity": 3, "matched_track": None},
]
PEOPLE = [{"frame": 0, "identity": 7, "box": BOX}, {"frame": 1, "identity": 7, "box": BOX}]
TRUTH = {
    "unknowns": [9],
    "cameras": {"door": {"modality": "visible", "place": "door", "fps": 10, "start_s": 0.5, "boxes": PEOPLE}},
}
OLD_TRUTH = {"fps": 10, "cameras": {"visible": PEOPLE, "infrared": PEOPLE}}
ABOUT_PLAN = {"target": "tensorrt 10.3.0 SM87 batch=1/2/8", "onnx_sha256": "ab" * 32, "plan_sha256": "cd" * 32}
ORIN = Device(flavour="tensorrt", version="10.3.0", capability="SM87", gpu="")


@given(content=json_bytes(MANIFEST))
def test_a_manifest(file: Put, content: bytes) -> None:
    path = file(content, "manifest.json")
    manifest = attempt("manifest", lambda: load_manifest(path.parent))
    if manifest is None:
        return
    check_types(manifest)
    attempt("manifest: matching", lambda: (model_id(manifest), from_manifest(manifest)))
    attempt("manifest: files", lambda: [verified_path(path.parent, graph) for graph in manifest.graphs])
    manifest.save(path.parent)
    assert repr(load_manifest(path.parent)) == repr(manifest)  # repr: NaN equals nothing


@given(content=json_bytes(THRESHOLDS))
def test_a_file_of_thresholds(file: Put, content: bytes) -> None:
    path = file(content, "thresholds.json")
    found = attempt("thresholds", lambda: load_thresholds(path, "m"))
    if found is not None:
        check_types(found)
        for direction in found.measured:
            least = [found.least(direction, people) for people in (1, 5, 1000)]
            assert least == sorted(least)
            assert all(-1.01 <= value <= 1.01 for value in least)
            assert found.most_people(direction) >= 0
        found.save(path)
        assert load_thresholds(path, "m") == found


@given(content=json_bytes(ALIGNMENT))
def test_an_alignment(file: Put, content: bytes) -> None:
    path = file(content, "alignment.json")
    found = attempt("alignment", lambda: load_alignment(path))
    if found is not None:
        check_types(found)
        attempt("alignment", lambda: found.agreement(BOX, BOX))
        found.save(path)
        assert load_alignment(path) == found


@given(content=json_bytes(TABLE))
def test_a_calibration_table(file: Put, content: bytes) -> None:
    path = file(content, "table.json")
    found = attempt("calibration table", lambda: load_table(path))
    if found is not None:
        check_types(found)
        assert isinstance(found, CalibrationTable)
        found.save(path)
        assert load_table(path) == found


@given(content=json_bytes(SIDECAR))
def test_a_detector_s_sidecar(file: Put, content: bytes) -> None:
    path = file(content, "detector.json")
    heads = tuple(form.name for form in FORMS)
    found = attempt("detector sidecar", lambda: load_sidecar(path.with_name("some.onnx"), heads))
    if found is not None:
        check_types(found)
        check_types(found.apply(FORMS[0].convention))


@given(content=json_bytes(TRUTH) | json_bytes(OLD_TRUTH))
def test_a_truth(file: Put, content: bytes) -> None:
    path = file(content, "truth.json")
    found = attempt("truth", lambda: read_truth(path))
    if found is not None:
        check_types(found)
        for spot in found.boxes:
            found.time_s(spot)


@given(content=json_lines(RUN))
def test_a_sightings_file(file: Put, content: bytes) -> None:
    path = file(content, "sightings.jsonl")
    truth = file(json.dumps(TRUTH).encode(), "truth-of-run.json")
    found = attempt("sightings", lambda: read_run(path))
    if found is not None:
        check_types(found)
        attempt("scoring", lambda: score(found, read_truth(truth)))


@given(
    content=json_lines(
        [{"frame": 0, "boxes": [[*BOX, 0.9]]}, {"frame": 2, "boxes": []}, {"frame": 3, "boxes": [[*BOX, 1]]}]
    )
)
def test_boxes_in_json_lines(file: Put, content: bytes) -> None:
    path = file(content, "boxes.jsonl")
    detector = attempt("boxes: JSON lines", lambda: FileDetector(path))
    if detector is not None:
        detector.close()
        assert detector.frames > 0


@given(content=json_bytes(ABOUT_PLAN))
def test_what_stands_beside_a_detector_s_plan(file: Put, content: bytes) -> None:
    onnx = file(b"a graph", "people.onnx")
    file(content, "people.tensorrt-10.3.0-SM87.json")
    assert attempt("detector plan", lambda: find_plan(onnx, ORIN)) is None  # never run: its hashes are of other files


@given(content=json_bytes(json.loads(json.dumps({"method": "baseline", **dataclasses.asdict(BaselineRecipe())}))))
def test_a_recipe(file: Put, content: bytes) -> None:
    path = file(content, "recipe.json")
    recipe = attempt("recipe.json", lambda: replace_checked(BaselineRecipe(), read_recipe_values(path, "baseline")))
    if recipe is not None:
        check_types(recipe)
        save_recipe(recipe, "baseline", path)
        assert repr(replace_checked(BaselineRecipe(), read_recipe_values(path, "baseline"))) == repr(recipe)


INDEX = {
    "format": 1,
    "sha256": "ab" * 32,
    "folders": {"cam1": [1, 2, ["0001"], []], "cam1/0001": [1, 2, [], ["a.jpg"]]},
}


@given(content=json_bytes(INDEX))
def test_a_dataset_s_index_changes_nothing(file: Put, content: bytes) -> None:
    path = file(content, ".crosslight-index.json")
    folder = path.parent / "cam1" / "0001"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "0001.jpg").touch()
    tree = attempt("dataset index", lambda: list_tree(path.parent, {"cam1": 2}))
    assert tree is not None
    assert tree["cam1/0001"].files == ("0001.jpg",)
