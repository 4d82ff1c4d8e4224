"""Files of text: site files, lists of splits, boxes as CSV, calibration caches, and texts of the command line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from calib.tensorrt_cache import read_cache, write_cache
from deploy.detection.file_detector import FileDetector
from deploy.settings.options import Options, cameras_of
from deploy.settings.site_file import read_site
from engines.errors import BadInput
from engines.plan_target import parse_target
from tests.fuzz.harness import attempt, check_types
from tests.fuzz.mutations import WORDS, changed_bytes, text_bytes, yaml_bytes
from train.datasets.llcm import open_llcm
from train.datasets.regdb import open_regdb
from train.datasets.split_files import check_disjoint, read_identities, read_image_list
from train.datasets.sysu import open_sysu
from train.methods.baseline import BaselineRecipe
from train.recipe import override

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Put = Callable[[bytes, str], Path]

THERMAL = {"polarity": "black-hot", "agc_percent": [1, 99], "telemetry_rows": 2, "freeze_s": 2.5}
SITE = {
    "cameras": {
        "door-rgb": {"uri": "rtsp://user:${DOOR}@10.0.0.5/main", "modality": "visible", "place": "door"},
        "door-ir": {
            "uri": "/dev/video2",
            "modality": "infrared",
            "band": "lwir",
            "format": "Y16",
            "size_px": [640, 512],
            "fps": 9,
            "place": "door",
            "thermal": THERMAL,
            "least_height_px": 24,
        },
    },
    "pairs": [{"visible": "door-rgb", "infrared": "door-ir", "alignment": "door.json"}],
    "transits": [{"places": ["door", "yard"], "least_s": 5, "most_s": 300.5}],
    "engine": "engines/people",
    "gallery": "gallery.db",
    "threshold": 0.5,
    "web": 8080,
    "keep_days": 7,
    "show": False,
}
# What only YAML can say, each a known way to trip a reader of it.
ODD_YAML = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\ncameras: *c",
    "cameras: &a {x: *a}",
    "cameras: {door: &d {uri: *d, modality: visible}}",
    "engine: 2001-13-45",
    "engine: 2001-12-14t21:59:43.10-99:99",
    "engine: !!timestamp x",
    "engine: !!int ''",
    "engine: !!float x",
    "engine: !!binary é",
    "engine: !!bool maybe",
    "engine: !!python/object/apply:os.system [true]",
    "engine: 1" + "0" * 5000,
    "web: 190:20:30",
    "web: 0x" + "f" * 200,
    "threshold: .nan",
    "threshold: 1e400",
    "cameras: {? [a, b] : {uri: '0', modality: visible}}",
    "cameras: !!set {a, b}",
    "cameras: !!omap [a: b]",
    "? a\n: b\n? a\n: c",
    "<<: {cameras: {}}",
    "<<: [a]",
    "\t",
    "---\na: b\n---\nc: d",
    "%YAML 9.9\n---\n{}",
    "cameras: {a: {uri: '0', modality: [visible]}}",
    "[" * 3000,
    "{a: " * 2000,
    "? " * 2000,
    "- " * 3000,
)
BOMB = "web: [&a0 [x, x], " + ", ".join(f"&a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)) + "]\n"
MOT = "1,1,10,20,30,90,0.9\n1,2,200.5,20,30,90,0.5,-1,-1,-1\n3,1,12,20,30,90,1\n"
LIST = (
    "vis/0001/0001_c01_s185535_f7010_vis.jpg 0\nvis/0001/0001_c02_s1_f1_vis.jpg 0\nvis/0002/0002_c01_s9_f3_vis.jpg 1\n"
)
CACHE = "TRT-100300-EntropyCalibration2\nimage: 3c010a14\nlayer1/conv:0: 3d010a14\n"
TARGET = "tensorrt 10.13.3 SM86 SM87 batch=1/8/32 hardware=ampere-plus version-compatible dla=0 gpu=Orin_NX"


def read_and_check(path: Path) -> Options:
    site = read_site(path, {"DOOR": "p@ss/w:rd", "HOME": "/root"})
    check_types(site)
    options = Options(cameras=site.cameras, pairs=site.pairs, transits=site.transits, **site.settings)
    check_types(options)
    for camera in options.cameras:
        numbers = (
            camera.fps,
            camera.offset_s,
            camera.tolerance_s,
            camera.thermal.freeze_s,
            camera.thermal.agc_settle_s,
        )
        assert all(number is None or math.isfinite(number) for number in numbers)
    return options


@given(content=yaml_bytes(SITE) | text_bytes(yaml.safe_dump(SITE)) | st.sampled_from(ODD_YAML).map(str.encode))
def test_a_site_file(file: Put, content: bytes) -> None:
    path = file(content, "site.yaml")
    attempt("site file", lambda: read_and_check(path))


@pytest.mark.parametrize("text", [*ODD_YAML, BOMB], ids=range(len(ODD_YAML) + 1))
def test_what_only_yaml_can_say(file: Put, text: str) -> None:
    path = file(text.encode(), "site.yaml")
    attempt("site file", lambda: read_and_check(path))


@given(content=text_bytes("1, 2,3,44,533\n"))
def test_a_list_of_identities(file: Put, content: bytes) -> None:
    path = file(content, "train_id.txt")
    found = attempt("split file: identities", lambda: read_identities(path))
    if found is not None:
        assert len(set(found)) == len(found) > 0
        assert all(1 <= identity < 10**9 for identity in found)
        path.write_text(",".join(map(str, found)))
        assert read_identities(path) == found


@given(content=text_bytes(LIST))
def test_a_list_of_images(file: Put, content: bytes) -> None:
    path = file(content, "train_vis.txt")
    found = attempt("split file: images", lambda: read_image_list(path, "vis"))
    for image in found or []:
        assert image.folder.startswith("vis/")
        assert image.name not in ("", ".", "..")
        assert "/" not in image.name


@given(lists=st.lists(st.lists(st.integers(1, 9), max_size=3), min_size=2, max_size=3))
def test_groups_that_share_an_identity_are_refused(lists: list[list[int]]) -> None:
    groups = {f"list {number}": members for number, members in enumerate(lists)}
    shared = any(set(a) & set(b) for n, a in enumerate(lists) for b in lists[n + 1 :])
    assert (attempt("split files together", lambda: check_disjoint(groups) or True) is None) == shared


@given(name=st.sampled_from(("exp/train_id.txt", "exp/test_id.txt")), content=text_bytes("1,2\n"))
def test_a_tree_of_sysu(file: Put, name: str, content: bytes) -> None:
    root = tree(file, "sysu", "cam1 cam2 cam3 cam4 cam5 cam6 exp")
    for split, members in (("train", "1"), ("val", "2"), ("test", "3")):
        (root / f"exp/{split}_id.txt").write_text(members)
    (root / name).write_bytes(content)
    found = attempt("tree of SYSU-MM01", lambda: open_sysu(root))
    if found is not None:
        attempt("tree of SYSU-MM01", lambda: found.split("train", "val", "test"))


@given(
    part=st.sampled_from(("train_visible", "test_thermal")),
    content=text_bytes("Visible/1/a_1.bmp 0\nVisible/2/b_2.bmp 1\n"),
)
def test_a_tree_of_regdb(file: Put, part: str, content: bytes) -> None:
    root = tree(file, "regdb", "Visible/1 Visible/2 Thermal/1 Thermal/2 idx")
    for top in ("Visible", "Thermal"):
        (root / top / "1" / "a_1.bmp").touch()
        (root / top / "2" / "b_2.bmp").touch()
        (root / f"idx/train_{top.lower()}_1.txt").write_text(f"{top}/1/a_1.bmp 0\n")
        (root / f"idx/test_{top.lower()}_1.txt").write_text(f"{top}/2/b_2.bmp 0\n")
    (root / f"idx/{part}_1.txt").write_bytes(content)
    attempt("tree of RegDB", lambda: open_regdb(root).split("train", "val", "test"))


@given(name=st.sampled_from(("idx/train_vis.txt", "idx/test_id.txt")), content=text_bytes(LIST) | text_bytes("3,4\n"))
def test_a_tree_of_llcm(file: Put, name: str, content: bytes) -> None:
    root = tree(file, "llcm", "vis/0001 vis/0002 nir/0001 test_vis/cam1/0003 test_nir/cam1/0003 idx")
    for line in LIST.splitlines():
        (root / line.split()[0]).touch()
    (root / "nir/0001/0001_c01_s1_f1_nir.jpg").touch()
    (root / "test_vis/cam1/0003/a.jpg").touch()
    (root / "idx/train_vis.txt").write_text(LIST)
    (root / "idx/train_nir.txt").write_text("nir/0001/0001_c01_s1_f1_nir.jpg 0\n")
    (root / "idx/test_id.txt").write_text("3,4\n")
    (root / name).write_bytes(content)
    attempt("tree of LLCM", lambda: open_llcm(root).split("train", "val", "test"))


def tree(file: Put, name: str, folders: str) -> Path:
    root = file(b"", "here").parent / name
    for folder in folders.split():
        (root / folder).mkdir(parents=True, exist_ok=True)
    return root


@given(content=text_bytes(MOT))
def test_boxes_as_csv(file: Put, content: bytes) -> None:
    path = file(content, "det.txt")
    detector = attempt("boxes: CSV", lambda: FileDetector(path))
    if detector is not None:
        detector.close()


@given(content=text_bytes(CACHE))
def test_a_calibration_cache(file: Put, content: bytes) -> None:
    path = file(content, "model.cache")
    ranges = attempt("TensorRT calibration cache", lambda: read_cache(path))
    if ranges is not None:
        write_cache(path, ranges, "10.3.0")
        assert read_cache(path) == ranges


@given(text=changed_bytes(TARGET.encode()).map(lambda data: data.decode("utf-8", "replace")) | st.text(max_size=40))
def test_a_plan_s_target(text: str) -> None:
    target = attempt("plan target", lambda: parse_target(text))
    if target is not None:
        assert parse_target(str(target)) == target
        target.refusal(flavour="tensorrt", version="10.3.0", capability="SM87")


SETTINGS = ("lr=0.05", "epochs=2", "milestones=[1,2]", "augment=plain", "erase_area=[0.1,0.2]", "train_on=[]", "lr=[]")


@given(
    settings=st.lists(
        st.sampled_from(SETTINGS)
        | st.tuples(st.sampled_from(("lr", "epochs", "milestones", "seed", "x")), st.sampled_from(WORDS)).map("=".join)
        | st.text(max_size=20),
        max_size=3,
    )
)
def test_settings_of_a_recipe(settings: list[str]) -> None:
    recipe = attempt("--set", lambda: override(BaselineRecipe(), settings))
    if recipe is not None:
        check_types(recipe)


@given(
    rgb=st.lists(
        changed_bytes(b"door=rtsp://user:pass@10.0.0.5:554/main").map(lambda data: data.decode("utf-8", "replace")),
        max_size=2,
    ),
    ir=st.lists(
        st.sampled_from(("0", "a=1", "=", "a=", "door-ir=/dev/video2", *WORDS)) | st.text(max_size=12), max_size=2
    ),
)
def test_cameras_of_the_command_line(rgb: list[str], ir: list[str]) -> None:
    attempt("NAME=SOURCE", lambda: Options(cameras=cameras_of(rgb, ir, invert=True)))


@given(content=st.binary(max_size=200))
def test_bytes_of_nothing_in_particular(file: Put, content: bytes) -> None:
    for name, read in (
        ("site file", read_site),
        ("boxes: CSV", FileDetector),
        ("split file: identities", read_identities),
    ):
        path = file(content, "noise")
        with_lines = attempt(name, lambda: read(path), (BadInput,))  # noqa: B023
        if isinstance(with_lines, FileDetector):
            with_lines.close()
