from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import pytest

from deploy.settings.options import Options
from deploy.settings.site_file import SETTINGS, read_site
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable

Write = "Callable[[str], Path]"

SITE = """
cameras:
  door-rgb: {uri: "rtsp://user:${DOOR}@10.0.0.5/main", modality: visible, place: door, size_px: [1280, 720]}
  door-ir:
    uri: recordings/ir
    modality: infrared
    band: lwir
    place: door
    offset_s: 0.12
    thermal: {polarity: black-hot, agc_percent: [1, 99]}
  yard: {uri: 2, modality: visible, place: yard}
pairs:
  - {visible: door-rgb, infrared: door-ir, alignment: door.json}
transits:
  - {places: [door, yard], least_s: 5, most_s: 300}
engine: people
gallery: gallery.db
keep_days: 3
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def put(text: str) -> Path:
        path = tmp_path / "site.yaml"
        path.write_text(text)
        return path

    return put


def test_a_site_file_says_all_of_a_site(write: Callable[[str], Path], tmp_path: Path) -> None:
    site = read_site(write(SITE), {"DOOR": "p@ss/word"})
    door, thermal, yard = site.cameras
    assert (door.name, door.uri) == ("door-rgb", "rtsp://user:p@ss/word@10.0.0.5/main")
    assert door.size_px == (1280, 720)
    assert (thermal.uri, thermal.offset_s) == (str(tmp_path / "recordings/ir"), 0.12)
    assert (thermal.thermal.polarity, thermal.thermal.agc_percent) == ("black-hot", (1.0, 99.0))
    assert (yard.uri, yard.ground) == ("2", "yard")
    assert site.pairs[0].alignment == tmp_path / "door.json"
    assert (site.transits[0].places, site.transits[0].most_s) == (("door", "yard"), 300.0)
    assert site.settings == {"engine": tmp_path / "people", "gallery": str(tmp_path / "gallery.db"), "keep_days": 3.0}


def test_a_password_never_stands_in_the_text_of_a_camera(write: Callable[[str], Path]) -> None:
    site = read_site(write(SITE), {"DOOR": "p@ss/word"})
    assert "p@ss" not in repr(site)


@pytest.mark.parametrize("where", ["memory", "/var/lib/x.db", "qdrant:/data", "qdrant+http://10.0.0.2:6333/people"])
def test_a_gallery_that_is_no_relative_path_stays_as_written(write: Callable[[str], Path], where: str) -> None:
    assert read_site(write(f"gallery: {where}")).settings["gallery"] == where


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "cameras:\n  a: {uri: 0, modality: visible, plaec: door}",
            "cameras.a: unknown key 'plaec'; did you mean 'place'?",
        ),
        ("camera:\n  a: {uri: 0}", "unknown key 'camera'; did you mean 'cameras'?"),
        (
            "cameras:\n  a: {uri: 0, modality: visble}",
            "cameras.a.modality: expected one of visible, infrared, got 'visble'",
        ),
        ("cameras:\n  a: {modality: visible}", "cameras.a: expected the key 'uri', which is missing"),
        ("cameras:\n  a: {uri: 0, modality: visible, loop: 3}", "cameras.a.loop: expected true or false, got 3"),
        ("cameras:\n  a: {uri: 0, modality: visible, size_px: 640}", "cameras.a.size_px: expected a list, got 640"),
        ("cameras:\n  a: {uri: 0, modality: visible, band: lwir}", "a visible camera cannot have the band lwir"),
        ("cameras:\n  1a: {uri: 0, modality: visible}", "camera name: expected letters"),
        ("cameras:\n  a: {uri: '${NOPE}', modality: visible}", "the environment variable NOPE is not set"),
        ("transits:\n - {places: [a, b], least_s: 9, most_s: 3}", "transit a - b: expected 0 <= least_s <= most_s"),
        ("transits:\n - {places: [a], least_s: 9}", "transits[0].places: expected 2 values, got 1"),
        ("threshold: high", "threshold: expected a number, got 'high'"),
        ("cameras: [", "expected YAML, got a mistake at line 1"),
        ("- a", "expected keys and values, got list"),
        ("keep_days: yes", "keep_days: expected a number, got True"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(write: Callable[[str], Path], text: str, told: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_site(write(text), {})
    assert told in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        read_site(tmp_path / "none.yaml")


def test_every_option_of_a_run_can_stand_in_a_site_file() -> None:
    fields = {item.name for item in dataclasses.fields(Options)} - {"cameras", "pairs", "transits"}
    assert set(SETTINGS) == fields


def test_a_setting_has_the_type_of_its_option() -> None:
    import deploy.settings.options
    import deploy.settings.site_plan

    hints = get_type_hints(Options, vars(deploy.settings.options) | vars(deploy.settings.site_plan))
    for name, kind in SETTINGS.items():
        assert hints[name] in (kind, kind | None), name
