"""The synthetic site: its plan keeps the promises of the truth, and its files say the same as its pictures."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.scoring.score import Run, Share, read_truth, score
from deploy.settings.site_file import read_site
from deploy.sightings import TrackKey
from engines.errors import BadInput
from tests.exit_code import exit_code
from train import make_site
from train.datasets import synthetic_streams
from train.datasets.synthetic_site import (
    AGAIN_S,
    CAMERA_TABLE,
    FIRST_IDENTITY,
    TRANSIT_S,
    SitePlan,
    SiteShape,
    plan_site,
)
from train.datasets.synthetic_site_files import LEAST_TRANSIT_S, recordings, write_site
from train.datasets.synthetic_site_view import SiteRenderer, paint_behind
from train.datasets.synthetic_stream_view import Walk

if TYPE_CHECKING:
    from train.datasets.synthetic_material import InfraredKind
    from train.datasets.synthetic_site import Visit

SIZES = [(2, 5.0), (3, 3.0), (4, 3.0)]


def tiny(infrared: InfraredKind = "nir") -> SitePlan:
    shape = SiteShape(
        identities=5, unknowns=1, minutes=0.7, width_px=192, height_px=108, fps=5, infrared=infrared, cameras=4
    )
    return plan_site(shape, 0)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "site"
    summary = write_site(folder, tiny())
    assert (summary.recordings, summary.people, summary.frames) == (5, 6, 4 * 210 - (130 - 94))
    return folder


def visits_of(plan: SitePlan, identity: int) -> list[Visit]:
    return [visit for visit in plan.visits if visit.walk.identity == identity]


@pytest.mark.parametrize(("cameras", "minutes"), SIZES)
def test_residents_come_back_and_strangers_come_once(cameras: int, minutes: float) -> None:
    plan = plan_site(SiteShape(cameras=cameras, minutes=minutes), 0)
    counts = Counter(visit.walk.identity for visit in plan.visits)
    residents = range(FIRST_IDENTITY, FIRST_IDENTITY + 20)
    assert set(counts) == {*residents, *plan.unknowns}
    assert all(counts[person] >= 2 for person in residents)
    assert [counts[person] for person in plan.unknowns] == [1, 1, 1, 1]


def test_residents_are_seen_at_both_places_and_some_return_to_the_same_one() -> None:
    plan = plan_site(SiteShape(), 0)
    places = [[visit.place for visit in visits_of(plan, FIRST_IDENTITY + number)] for number in range(20)]
    assert all(set(seen) == {"door", "yard"} for seen in places)
    assert any(before == after for seen in places for before, after in pairwise(seen))


@pytest.mark.parametrize("seed", range(3))
def test_nobody_is_faster_than_the_way_between_the_places(seed: int) -> None:
    plan = plan_site(SiteShape(), seed)
    shortest = {True: 1e9, False: 1e9}
    for number in range(20):
        visits = visits_of(plan, FIRST_IDENTITY + number)
        for before, after in pairwise(visits):
            same = before.place == after.place
            shortest[same] = min(shortest[same], after.walk.start_s - before.walk.end_s)
    assert shortest[True] >= AGAIN_S
    assert shortest[False] >= TRANSIT_S > LEAST_TRANSIT_S


@pytest.mark.parametrize(("cameras", "minutes"), SIZES)
def test_one_stranger_is_seen_by_one_camera_only(cameras: int, minutes: float) -> None:
    plan = plan_site(SiteShape(cameras=cameras, minutes=minutes), 0)
    seen_by: list[int] = []
    for person in plan.unknowns:
        (visit,) = visits_of(plan, person)
        watching = 0
        for camera in plan.cameras:
            lost = [frame / plan.shape.fps for frame in camera.lost_frames or (0, 0)]
            blind = lost[0] <= visit.walk.start_s and visit.walk.end_s <= lost[1]
            watching += camera.place == visit.place and not blind
        seen_by.append(watching)
    assert min(seen_by) == 1


def test_people_cross_meet_and_overtake() -> None:
    walks = plan_site(SiteShape(), 0).walks("door")
    together = [
        (one, other)
        for number, one in enumerate(walks)
        for other in walks[:number]
        if one.start_s < other.end_s - 3 and other.start_s < one.end_s - 3
    ]
    assert sum(one.direction != other.direction for one, other in together) >= 4
    assert sum(one.direction == other.direction for one, other in together) >= 2
    assert sum(one.pause_s > 0 and other.pause_s > 0 for one, other in together) >= 2


def test_a_walk_stops_on_the_way() -> None:
    walk = Walk(identity=1, start_s=10, duration_s=8, direction=1, across=0.5, drift=0, pause_s=2, pause_at=0.5)
    # six seconds of walking; the stop is from 13 s to 15 s
    moved = [walk.moved_s(time_s) for time_s in (10, 12, 13, 14, 15, 16, 18)]
    assert moved == pytest.approx([0, 2, 3, 3, 3, 4, 6])
    assert [walk.stands(time_s) for time_s in (12.9, 13.1, 14.9, 15.1)] == [False, True, True, False]


def test_people_of_a_site_are_in_no_data_set_and_no_stream() -> None:
    streams = synthetic_streams.plan_walks(synthetic_streams.StreamShape(people=1000), 0)
    assert max(walk.identity for walk in streams) < FIRST_IDENTITY


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cameras": 5}, "2 to 4 cameras, got 5"),
        ({"identities": 0}, "1 to 1000 identities"),
        ({"minutes": 0.1}, "0.5 to 600 minutes"),
        ({"minutes": 1.0}, "ask for more minutes"),
        ({"minutes": 0.6, "identities": 2, "unknowns": 30}, "ask for more minutes"),
    ],
)
def test_a_site_that_cannot_be_planned_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        plan_site(SiteShape(**settings), 0)  # type: ignore[arg-type]


def test_cameras_side_by_side_see_the_same_wall() -> None:
    rgb, infrared = (camera.view for camera in CAMERA_TABLE[:2])
    size = (400, 200)
    left, right = (paint_behind(np.random.default_rng(1), view, size, size).surface_HW for view in (rgb, infrared))
    assert left.shape == right.shape == (200, 400)
    assert np.array_equal(left[:, :-20], right[:, 20:])  # a shift of 0.05 widths
    assert not np.array_equal(left, right)


@pytest.mark.parametrize("number", range(4))
def test_boxes_hold_what_differs_from_the_empty_place(number: int) -> None:
    plan = tiny()
    renderer = SiteRenderer(plan, plan.cameras[number])
    empty_HWC = renderer.frame(0)[0].astype(np.float32)
    boxes = 0
    for frame in range(20, 120, 6):
        picture_HWC, seen = renderer.frame(frame)
        moving_HW = np.abs(cv2.blur(picture_HWC.astype(np.float32) - empty_HWC, (3, 3))).max(2) > 20
        outside_HW = moving_HW.copy()
        for person in seen:
            x, y, width, height = person.box
            outside_HW[max(0, y - 3) : y + height + 4, max(0, x - 4) : x + width + 4] = False
            if x > 0 and x + width < 192:
                boxes += 1
                assert moving_HW[y : y + height, x : x + width].mean() > 0.15
        assert outside_HW.mean() < 0.012  # someone who is less than a third inside has no box yet
    assert boxes >= 5


def test_a_frame_depends_on_its_number_alone() -> None:
    plan = tiny()
    forth, back = (SiteRenderer(plan, plan.cameras[3]) for _ in range(2))
    frames = {number: forth.frame(number)[0] for number in (30, 31, 32)}
    assert all(np.array_equal(back.frame(number)[0], frames[number]) for number in (32, 30, 31))
    assert not np.array_equal(frames[30], frames[31])


def read_counts(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_CONVERT_RGB, 0])
    frames: list[np.ndarray] = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    capture.release()
    return frames


def read_video(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames: list[np.ndarray] = []
    while (answer := capture.read())[0]:
        frames.append(answer[1])
    capture.release()
    return frames


def test_files_hold_what_the_truth_and_the_site_file_say(site: Path) -> None:
    truth, file = read_truth(site / "truth.json"), read_site(site / "site.yaml")
    raw = json.loads((site / "truth.json").read_text())["cameras"]
    assert list(truth.cameras) == ["door-rgb", "door-ir", "yard-rgb", "yard-ir", "yard-ir-2"]
    assert truth.unknowns == set(tiny().unknowns)
    assert (file.transits[0].places, file.transits[0].least_s) == (("door", "yard"), LEAST_TRANSIT_S)
    for camera in file.cameras:
        told = truth.cameras[camera.name]
        assert (camera.modality, camera.place, -camera.offset_s) == (told.modality, told.place, told.start_s)
        assert len(read_video(Path(camera.uri))) == raw[camera.name]["frames"]
    assert len(truth.boxes) > 100


def test_tracks_that_follow_the_truth_score_perfectly(site: Path) -> None:
    truth = read_truth(site / "truth.json")
    keys = {TrackKey(spot.camera, person.label) for spot, people in truth.boxes.items() for person in people}
    found = score(Run(boxes=truth.boxes, identities={key: key.track for key in keys}), truth)
    assert (found.idf1, found.idf1_in_both, found.pair_precision, found.pair_recall) == (1, 1, 1, 1)
    assert (found.people, found.stray_tracks, found.switches, found.fragments) == (6, 0, 0, 0)
    assert (found.newcomers.part, found.in_view.part, found.unknowns_kept) == (0, 0, Share(part=1, whole=1))
    assert found.newcomers.whole == 5  # all but the first who came
    assert found.in_view.whole > 0


def test_a_lost_camera_leaves_two_recordings_with_the_loss_between_them(site: Path) -> None:
    plan = tiny()
    lost, back = plan.cameras[-1].lost_frames or (0, 0)
    assert (lost, back) == (94, 130)  # 45 % and 62 % of 210 frames, to the nearest even where it is a half
    raw = json.loads((site / "truth.json").read_text())["cameras"]
    assert (raw["yard-ir"]["frames"], raw["yard-ir"]["gaps_s"]) == (lost, [[lost / 5, back / 5]])
    assert (raw["yard-ir-2"]["start_s"], raw["yard-ir-2"]["frames"]) == (back / 5, 210 - back)
    renderer = SiteRenderer(plan, plan.cameras[-1])
    row = next(row for row in raw["yard-ir-2"]["boxes"] if row["box"][0] > 60 and row["frame"] > 19)
    index, (x, y, width, height) = row["frame"], row["box"]
    assert row["identity"] in {person.identity for person in renderer.frame(back + index)[1]}
    cut = (slice(y, y + height), slice(x, x + width))
    shown_HWC = read_video(site / "yard-ir-2.mp4")[index][cut].astype(int)
    shifts = range(-4, 5)
    away = [np.abs(shown_HWC - renderer.frame(back + index + shift)[0][cut]).mean() for shift in shifts]
    assert shifts[int(np.argmin(away))] == 0  # of the frames around it, this one was written


def test_thermal_recordings_hold_16_bits_exactly(tmp_path: Path) -> None:
    plan = tiny("thermal")
    write_site(tmp_path / "site", plan)
    renderer = SiteRenderer(plan, plan.cameras[1])
    counts = read_counts(tmp_path / "site" / "door-ir.avi")
    assert len(counts) == plan.shape.frames
    assert counts[0].shape[:2] == (54, 96)  # half of the visible camera's
    for number in (0, 40, 100):
        assert np.array_equal(counts[number].reshape(54, 96), renderer.frame(number)[0])
    picture_HW, seen = renderer.frame(40)
    x, y, width, height = seen[0].box
    body = picture_HW[y : y + height, x + width // 4 : x + 3 * width // 4]
    assert np.median(body) > np.median(picture_HW) + 30  # warm, by counts of 400 from the air to the skin
    assert 7000 < picture_HW.min() < picture_HW.max() < 2**14
    file = read_site(tmp_path / "site" / "site.yaml")
    assert [camera.band for camera in file.cameras] == [None, "lwir", None, "lwir", "lwir"]


@pytest.mark.parametrize("cameras", [2, 3])
def test_the_last_camera_is_the_one_that_is_lost(cameras: int) -> None:
    names = [file.name for file in recordings(plan_site(SiteShape(cameras=cameras, minutes=5), 0))]
    assert names == [["door-rgb", "door-ir", "door-ir-2"], ["door-rgb", "door-ir", "yard-ir", "yard-ir-2"]][cameras - 2]


def test_the_same_seed_plans_the_same_site() -> None:
    assert plan_site(SiteShape(), 3) == plan_site(SiteShape(), 3)
    assert plan_site(SiteShape(), 3) != plan_site(SiteShape(), 4)


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert make_site.main(["--out", str(tmp_path)]) == 2
    assert make_site.main(["--out", str(tmp_path / "site"), "--minutes", "1"]) == 2
    assert exit_code(make_site.main, ["--out", str(tmp_path / "site"), "--seed", "-1"]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("make_site: ")]
    assert [part in line for part, line in zip(("not empty", "more minutes", "--seed"), lines, strict=True)] == [
        True
    ] * 3
    assert not (tmp_path / "site").exists()
