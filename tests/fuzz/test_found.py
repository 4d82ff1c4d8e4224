"""What fuzzing found, a case each: a traceback, a hang, a crash or a wrong value before it was mended.

More of it stands where a table of its own does: pages of YAML in test_text_files, statements of SQL in
test_binary_files, lines for redaction in test_addresses, requests in tests/deploy/web/test_hostile.
"""

from __future__ import annotations

import io
import json
import sqlite3
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from calib.table import load_table
from deploy.alignment.alignment import load_alignment
from deploy.cameras.device_nodes import explain_refusal
from deploy.detection.file_detector import FileDetector
from deploy.detection.heads.form import from_centres, from_corners
from deploy.gallery.archive import read_archive
from deploy.gallery.opening import open_sqlite
from deploy.gallery.server_points import connect
from deploy.scoring.files import read_run, read_truth
from deploy.settings.options import cameras_of
from deploy.settings.site_plan import CameraSite
from deploy.sinks.mqtt import MqttDestination
from deploy.sinks.webhook import Webhook
from deploy.sources.address import parse_address
from deploy.sources.challenge import answer
from deploy.sources.pixels import from_y16, to_pixels
from deploy.thresholds.evidence import load_evidence
from deploy.thresholds.thresholds import load_thresholds
from deploy.web.reading import Request, read_object
from engines.errors import LONGEST_LINE, BadInput, shown
from engines.manifest import load_manifest
from engines.npz_file import read_arrays
from engines.plan_target import parse_target
from engines.strict_json import parse_json
from tests.fuzz.harness import check_line
from tests.fuzz.test_binary_files import evidence, fill
from tests.fuzz.test_json_files import ALIGNMENT, MANIFEST, RUN, TABLE, THRESHOLDS, TRUTH
from tests.record_material import run_state
from train.datasets.images import read_image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[[Path], object]

READERS: dict[str, Read] = {
    "manifest.json": lambda path: load_manifest(path.parent),
    "thresholds.json": lambda path: load_thresholds(path, "m"),
    "alignment.json": load_alignment,
    "table.json": load_table,
    "truth.json": read_truth,
    "sightings.jsonl": read_run,
    "boxes.jsonl": FileDetector,
    "body.json": lambda path: read_object(Request(method="POST", path="/", body=path.read_bytes())),
}


def refused(read: Read, path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        read(path)
    check_line(str(caught.value))
    return str(caught.value)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("text", ['{"a": ' * 12_000, "[" * 12_000], ids=["objects", "lists"])
def test_brackets_without_end_are_no_traceback(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    refused(READERS[name], tmp_path / name)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("manifest.json", MANIFEST),
        ("thresholds.json", THRESHOLDS),
        ("alignment.json", ALIGNMENT),
        ("table.json", TABLE),
        ("truth.json", TRUTH),
        ("sightings.jsonl", RUN[0]),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, name: str, good: dict[str, Any]) -> None:
    """Of two values a person may have read the first, and a program takes the second."""
    key = next(iter(good))
    (tmp_path / name).write_text(f'{{"{key}": 1, {json.dumps(good)[1:]}')
    assert "twice" in refused(READERS[name], tmp_path / name)


def changed(good: Any, *keys: Any, value: Any) -> str:
    tree = json.loads(json.dumps(good))
    place = tree
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    return "\n".join(map(json.dumps, tree)) if isinstance(tree, list) else json.dumps(tree)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("manifest.json", changed(MANIFEST, "method", value=None)),
        ("manifest.json", changed(MANIFEST, "recipe", value=[])),
        ("manifest.json", changed(MANIFEST, "tools", value={"numpy": 2})),
        ("manifest.json", changed(MANIFEST, "graphs", 0, "sha256", value=None)),
        ("thresholds.json", changed(THRESHOLDS, "directions", "together", "tails", 0, "pairs", value=0.5)),
        ("manifest.json", changed(MANIFEST, "format", value=True)),
        ("alignment.json", changed(ALIGNMENT, "format", value=1.0)),
        ("table.json", changed(TABLE, "format", value=2.0)),
        ("thresholds.json", changed(THRESHOLDS, "directions", "together", "genuine_pairs", value=1.8e19)),
        ("alignment.json", changed(ALIGNMENT, "matrix", 6, value=1e308)),
        ("alignment.json", changed(ALIGNMENT, "residual_px", value=None)),
        ("alignment.json", changed(ALIGNMENT, "visible_px", value=[0.5, -1])),
        ("alignment.json", changed(ALIGNMENT, "matrix", value=[0.0] * 9)),
        ("alignment.json", changed(ALIGNMENT, "matrix", 6, value=-1.0)),  # the horizon stands in the picture
        ("table.json", changed(TABLE, "images", value=False)),
        ("truth.json", changed(TRUTH, "cameras", "door", "fps", value=float("nan"))),
        ("truth.json", changed(TRUTH, "cameras", "door", "boxes", 0, "frame", value=1.5)),
        ("sightings.jsonl", changed(RUN, 1, "track", value="one")),
        ("sightings.jsonl", changed(RUN, 3, value={"event": "merge", "kept": 1, "absorbed": 1})),  # was an endless loop
        ("sightings.jsonl", changed(RUN, 0, "false_match_rate", value=10**400)),
        ("thresholds.json", changed(THRESHOLDS, "false_match_rate", value=10**400)),
        ("alignment.json", changed(ALIGNMENT, "residual_px", value=10**400)),
        ("table.json", changed(TABLE, "amax", "image", value=10**400)),
    ],
)  # fmt: skip
def test_no_value_of_another_kind_passes(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    refused(READERS[name], tmp_path / name)


def test_a_message_is_one_line_of_bounded_length_whatever_it_quotes() -> None:
    text = str(BadInput("expected a name, got " + "\x1b[2J\n\u2028\ud800" * 5000 + "; do this"))
    check_line(text)
    assert (text.startswith("expected a name"), text.endswith("; do this"), len(text)) == (True, True, LONGEST_LINE)
    bomb: list[Any] = ["x", "x"]
    for _ in range(60):
        bomb = [bomb, bomb]
    assert len(shown(bomb)) < 500


def test_strict_json_is_json() -> None:
    good = {"a": [1, -2.5, 2**63, -(2**63), None, True, "é 😀"], "b": {}}
    assert parse_json(json.dumps(good)) == good
    assert parse_json(json.dumps(good).encode()) == good
    for bad in ("", "{", "\ufeff{}", b"\xff", '{"a": 1, "a": 1}', str(2**64), "-" + "9" * 30, "[" * 12_000):
        with pytest.raises(ValueError, match=r"."):
            parse_json(bad)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: MqttDestination("mqtt://[", run_state), "--mqtt"),
        (lambda: MqttDestination("mqtt://\udcf5:x@broker/a", run_state), "--mqtt"),
        (lambda: Webhook("http://["), "--webhook"),
        (lambda: Webhook("http://h:99999/"), "--webhook"),
        (lambda: connect("http://["), "gallery"),
        (lambda: connect("http://\udcb1/a"), "gallery"),
        (lambda: parse_target("tensorrt 10.3.0 SM87 batch=1/1/" + "9" * 5000), "manifest"),
        (lambda: CameraSite(name="a", uri="/dev/\0", modality="visible"), "camera a"),
        (lambda: parse_address(CameraSite(name="a", uri="rtsp://h:" + "9" * 5000, modality="visible")), "camera 'a'"),
        (lambda: parse_address(CameraSite(name="a", uri="rtsp://u:p\n@h/1", modality="visible")), "camera 'a'"),
    ],
)  # fmt: skip
def test_no_address_is_a_traceback(make: Callable[[], object], what: str) -> None:
    with pytest.raises(BadInput) as caught:
        make()
    check_line(str(caught.value))
    assert str(caught.value).startswith(what)


def test_a_source_longer_than_a_path_is_not_there() -> None:
    assert cameras_of(["door=" + "9" * 5000], [])[0].name == "door"
    refusal = explain_refusal("door", "9" * 5000)
    assert refusal is not None
    assert refusal.kind == "not-found"


def test_a_camera_s_challenge_begins_no_other_header() -> None:
    challenge = 'Digest realm="a\nEvil: yes", nonce="1"'
    assert answer([challenge], method="OPTIONS", uri="rtsp://h/1", user="u", password="p") is None
    said = answer(['Digest realm="a", nonce="1"'], method="OPTIONS", uri="rtsp://h/1", user='u"x', password="p")
    assert said is not None
    assert 'username="u\\"x"' in said


@pytest.mark.parametrize("shape", [(), (0,), (0, 4), (4, 0, 3), (4, 4, 2), (4, 4, 5), (2, 2, 2, 2)])
def test_no_array_but_a_picture_is_one(shape: tuple[int, ...]) -> None:
    site = CameraSite(name="a", uri="0", modality="infrared")
    with pytest.raises(BadInput):
        to_pixels(np.zeros(shape, np.uint8), site)
    with pytest.raises(BadInput):
        from_y16(np.zeros((3, 0), np.uint16), (0, 3), site)


def test_boxes_that_overflowed_are_left_out() -> None:
    odd_N4 = np.array([[1, 2, 3, 4], [np.nan, 0, 1, 1], [0, 0, np.inf, 1], [-3e38, 0, 3e38, 1]], np.float32)
    for read in (from_corners, from_centres):
        found = read(odd_N4, np.array([0.9, 0.8, 0.7, 0.6], np.float32))
        assert found.score_N.tolist() == [np.float32(0.9)]
        assert not len(read(odd_N4[:1], np.array([np.nan], np.float32)))


def test_a_csv_of_infinite_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("9" * 400 + ",1,10,20,30,90,0.9\n")
    refused(FileDetector, tmp_path / "det.txt")


def test_arrays_of_other_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.npz"
    evidence().save(path)
    good = read_arrays(path)
    for name, value in (
        ("quality_N", good["quality_N"][:, None]),
        ("count_T", good["count_T"].astype(float)),
        ("meeting_P4", np.zeros((1, 3))),
        ("meeting_P4", np.full((1, 4), np.nan)),
        ("about", np.array("[]")),
    ):
        np.savez(path, **{**good, name: value})
        refused(load_evidence, path)


def test_a_zip_that_unpacks_to_gigabytes_is_refused_unopened(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    stream = io.BytesIO()
    np.save(stream, np.zeros(20_000_000, np.uint8))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", stream.getvalue())
    assert path.stat().st_size < 50_000
    assert "unpacks to 20 MB" in refused(read_archive, path)
    assert "unpacks to 20 MB" in refused(load_evidence, path)


def test_a_gallery_whose_damage_is_no_text_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    """SQLite quotes the damaged bytes in its message, which Python then cannot decode."""
    path = tmp_path / "g.db"
    fill(open_sqlite(path, "m", 4)).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    content = path.read_bytes().replace(b"CREATE TABLE face", b"CREATE TAB\xf3E face")
    path.write_bytes(content)
    assert "damaged" in refused(lambda path: open_sqlite(path, None, None, read_only=True), path)
    assert path.read_bytes() == content


def test_a_picture_that_a_decoder_fails_on_in_its_own_way_is_refused(tmp_path: Path) -> None:
    """A bitmap said to be run-length coded with 24 bits: Pillow's ValueError."""
    stream = io.BytesIO()
    Image.new("RGB", (16, 24)).save(stream, "BMP")
    content = bytearray(stream.getvalue())
    content[30] = 1  # the compression
    (tmp_path / "a.bmp").write_bytes(content)
    refused(read_image, tmp_path / "a.bmp")


def test_a_checkpoint_without_its_parts_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch to read checkpoints")
    from train.checkpoint import FORMAT, load_checkpoint

    for raw in ({}, {"method": None}, {"method": "baseline", "recipe": []}, {"method": "baseline", "recipe": {1: 2}}):
        torch.save({"crosslight_checkpoint": FORMAT, **raw}, tmp_path / "c.pt")
        refused(load_checkpoint, tmp_path / "c.pt")
    torch.save({"crosslight_checkpoint": 1}, tmp_path / "c.pt")
    refused(load_checkpoint, tmp_path / "c.pt")
