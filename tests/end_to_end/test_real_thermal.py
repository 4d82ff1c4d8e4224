"""Real thermal stills through the 16-bit path of a whole run: folder, AGC, inversion, detector, tracks, crops.

No radiometric recording may be passed on, so the counts are made from the 8-bit stills: 7000 + 8 counts a grey
level, as a 14-bit camera shows 20 K, with noise of 2 counts (about 50 mK), so that no two frames are the same.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np

from deploy.run_cameras import main
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 8


def write_counts(still: Path, folder: Path) -> None:
    grey_HW = cv2.imread(str(still), cv2.IMREAD_GRAYSCALE)
    assert grey_HW is not None
    rng = np.random.default_rng(5)
    folder.mkdir()
    for index in range(FRAMES):
        counts_HW = 7000 + 8 * grey_HW.astype(np.float64) + rng.normal(0, 2, grey_HW.shape)
        cv2.imwrite(str(folder / f"{index:03d}.tiff"), counts_HW.round().astype(np.uint16))


def test_people_of_a_thermal_still_are_found_and_embedded(engine_folder: Path, tmp_path: Path) -> None:
    stills = sorted(shared_folder("data/thermal").glob("*.png"))
    detector = shared_folder("data/detectors/yolox_nano.onnx")
    found: list[int] = []
    embedded = 0
    for still in stills:
        folder = tmp_path / still.stem
        write_counts(still, folder)
        site = tmp_path / "site.yaml"
        site.write_text(
            f"cameras:\n  back: {{uri: {folder}, modality: infrared, band: lwir}}\n"
            f"detector: {detector}\nengine: {engine_folder}\nsightings: {tmp_path / 's.jsonl'}\n"
        )
        assert main(["--site", str(site)]) == 0
        records = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
        assert records[0]["cameras"]["back"]["band"] == "lwir"
        tracks = [record for record in records if record["event"] == "track"]
        found.append(len(tracks))
        embedded += sum(track["crops"] > 0 for track in tracks)
        assert all(track["crops"] or set(track["rejects"]) == {"edge"} for track in tracks)
    # Two stills: four to five full bodies outdoors, of whom the picture cuts some off, and a head and shoulders.
    assert max(found) >= 4
    assert embedded >= 2
