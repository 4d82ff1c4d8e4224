"""Two pinhole cameras whose geometry is known, and the real board of the shared material."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from deploy.align_cameras import main
from deploy.alignment.alignment import Alignment, load_alignment
from deploy.alignment.fit import View, fit_views
from deploy.alignment.markers import MarkerFinder, make_view
from engines.errors import BadInput
from tests.shared_material import shared_folder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Float = NDArray[np.float64]

# Two pinhole cameras that look the same way: focal lengths in pixels, principal points, 12 cm and 2 cm apart.
VISIBLE_F, VISIBLE_C = 900.0, np.array([640.0, 360.0])
INFRARED_F, INFRARED_C = 400.0, np.array([160.0, 120.0])
APART_M = np.array([0.12, 0.02, 0.0])
MARKER_M = 0.1


def see(point_N3: Float, focal: float, centre_2: Float) -> Float:
    return point_N3[:, :2] / point_N3[:, 2:] * focal + centre_2


def board_view(name: str, x: float, y: float, z: float, noise_px: float = 0.0, seed: int = 0) -> View:
    rng = np.random.default_rng(seed)
    corners_43 = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]) * MARKER_M
    places = [np.array([x + 0.15 * column, y + 0.15 * row, z]) for row in range(2) for column in range(3)]
    visible = {i: see(corners_43 + p - APART_M, VISIBLE_F, VISIBLE_C) for i, p in enumerate(places)}
    infrared = {i: see(corners_43 + p, INFRARED_F, INFRARED_C) for i, p in enumerate(places)}
    for seen in (visible, infrared):
        for number in seen:
            seen[number] = seen[number] + rng.normal(0, noise_px, (4, 2))
    view = make_view(name, visible, infrared, MARKER_M)
    assert view is not None
    return view


def views(noise_px: float = 0.0) -> list[View]:
    places = [
        (-0.6, -0.3, 1.5),
        (0.1, -0.2, 2.0),
        (-0.4, 0.0, 2.6),
        (0.2, 0.1, 3.2),
        (-0.8, 0.2, 3.8),
        (0.3, -0.6, 4.5),
    ]
    return [board_view(str(n), *place, noise_px, n) for n, place in enumerate(places)]


def alignment(noise_px: float = 0.0) -> Alignment:
    fit = fit_views(views(noise_px))
    return Alignment(
        visible_px=(1280, 720), infrared_px=(320, 240), matrix=tuple(fit.matrix_33.ravel().tolist()),
        shift=(float(fit.shift_2[0]), float(fit.shift_2[1])), residual_px=float(np.median(fit.error_N)),
        residual_p95_px=1.0, views=6, points=len(fit.error_N), model=fit.model, created="now",
    )  # fmt: skip


def boxes(x: float, z: float, *, height_m: float = 1.7) -> tuple[Float, Float]:
    """A person's box in both pictures, standing x metres to the right at a distance z, feet 1.2 m below the camera."""
    top_left, bottom_right = np.array([[x - 0.25, 1.2 - height_m, z]]), np.array([[x + 0.25, 1.2, z]])
    found: list[Float] = []
    for away, focal, centre in ((APART_M, VISIBLE_F, VISIBLE_C), (np.zeros(3), INFRARED_F, INFRARED_C)):
        a, b = see(top_left - away, focal, centre)[0], see(bottom_right - away, focal, centre)[0]
        found.append(np.concatenate([a, b - a]))
    return found[0], found[1]


def test_the_geometry_of_two_cameras_is_found_again() -> None:
    fit = fit_views(views())
    assert fit.error_N.max() < 0.01
    # What lies far away: the ratio of the focal lengths; the shift: focal length times distance apart.
    assert fit.matrix_33[0, 0] == pytest.approx(VISIBLE_F / INFRARED_F, rel=1e-3)
    # Pixels per metre in the infrared picture are INFRARED_F / z; the shift in the visible one is -VISIBLE_F * d / z.
    assert fit.shift_2 * INFRARED_F == pytest.approx(-VISIBLE_F * APART_M[:2], abs=0.2)


@pytest.mark.parametrize("z", [4.0, 7.0, 15.0])
def test_a_person_is_found_at_distances_where_no_board_was(z: float) -> None:
    visible_4, infrared_4 = boxes(0.5, z)
    assert alignment().person(infrared_4) == pytest.approx(visible_4, abs=0.02 * visible_4[3])


def test_noise_is_told_as_noise() -> None:
    assert 0.5 < alignment(noise_px=0.7).residual_px < 4


@pytest.mark.parametrize("height_m", [1.5, 1.7, 1.9])
def test_one_person_agrees_and_others_do_not(height_m: float) -> None:
    pair = alignment(noise_px=0.3)
    visible_4, infrared_4 = boxes(0.0, 6.0, height_m=height_m)
    assert pair.agreement(visible_4, infrared_4) > 0.8
    assert pair.agreement(boxes(1.2, 6.0)[0], infrared_4) < 0  # 1.2 m beside
    assert pair.agreement(boxes(3.0, 6.0)[0], infrared_4) == -1
    assert pair.agreement(boxes(0.0, 12.0)[0], infrared_4) < 0  # behind, twice as far


def test_agreement_falls_with_the_distance() -> None:
    pair, infrared_4 = alignment(), boxes(0.0, 6.0)[1]
    found = [pair.agreement(boxes(x, 6.0)[0], infrared_4) for x in np.linspace(0, 2, 21)]
    assert found[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(found))


def test_a_box_that_the_picture_cuts_off_is_judged_by_what_is_left() -> None:
    pair = alignment()
    visible_4, infrared_4 = boxes(0.0, 3.0)
    legs_off_4 = visible_4.copy()
    legs_off_4[3] = 720 - visible_4[1]
    infrared_cut_4 = infrared_4.copy()
    infrared_cut_4[3] = 240 - infrared_4[1]
    assert pair.agreement(legs_off_4, infrared_4) > 0.5
    assert pair.agreement(legs_off_4 + np.array([400, 0, 0, 0]), infrared_4) < 0
    corner_4 = np.array([0.0, 0.0, 1280.0, 720.0])
    assert pair.agreement(corner_4, infrared_4) == 0  # nothing can be told


def test_the_real_board_is_predicted_better_than_by_one_homography(tmp_path: Path) -> None:
    folder = shared_folder("data/paired/speakingfaces_calib")
    out = tmp_path / "pair.json"
    assert main([str(folder), "--marker-mm", "40", "--out", str(out)]) == 0
    found = load_alignment(out)
    assert found.views == 10
    assert found.residual_px < 4.3  # one homography, fitted to the same views (shared/data/README.md)
    picture = cv2.imread(str(tmp_path / "pair.png"))
    assert picture is not None
    assert picture.shape[1] > 1000


def draw_board(numbers: range, dictionary: int = cv2.aruco.DICT_4X4_50) -> NDArray[np.uint8]:
    board_HW = np.full((400, 600), 255, np.uint8)
    markers = cv2.aruco.getPredefinedDictionary(dictionary)
    for place, number in enumerate(numbers):
        row, column = divmod(place, 3)
        board_HW[40 + 180 * row : 160 + 180 * row, 40 + 180 * column : 160 + 180 * column] = (
            cv2.aruco.generateImageMarker(markers, number, 120)
        )
    return board_HW


def test_markers_are_found_in_both_polarities() -> None:
    finder = MarkerFinder("DICT_4X4_50")
    board_HWC = np.repeat(draw_board(range(6))[:, :, None], 3, axis=2)
    plain, inverted = finder.find(board_HWC), finder.find(np.asarray(255 - board_HWC, np.uint8))
    assert set(plain) == set(inverted) == set(range(6))
    assert plain[0] == pytest.approx(np.array([[40, 40], [160, 40], [160, 160], [40, 160]]), abs=1.0)


def test_a_folder_of_views_is_aligned_in_the_order_of_numbers(tmp_path: Path) -> None:
    for number in range(1, 6):
        board_HW = draw_board(range(6))
        small_HW = cv2.resize(board_HW, (300, 200), interpolation=cv2.INTER_AREA)
        moved = np.array([[1, 0, 5.0 * number], [0, 1, 3.0 * number]])
        cv2.imwrite(
            str(tmp_path / f"{number}_visible.png"),
            cv2.warpAffine(board_HW, 2 * moved / [[2, 2, 1]], (640, 460), borderValue=255),
        )
        cv2.imwrite(
            str(tmp_path / f"{number}_infrared.png"), 255 - cv2.warpAffine(small_HW, moved, (320, 230), borderValue=255)
        )
    out = tmp_path / "a.json"
    flags = ["--marker-mm", "60", "--dictionary", "DICT_4X4_50", "--out", str(out)]
    assert main([str(tmp_path), *flags]) == 0
    found = load_alignment(out)
    assert (found.views, found.points) == (5, 5 * 24)
    assert found.residual_px < 1.0


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ([], "expected a folder of views, or --rgb and --ir"),
        (["--rgb", "0"], "expected a folder of views, or --rgb and --ir"),
        (["none", "--rgb", "0", "--ir", "1"], "give one of the two"),
        (["none"], "no such folder"),
        (["none", "--dictionary", "DICT_X"], "--dictionary: expected one of"),
    ],
)
def test_bad_input_is_one_line(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--marker-mm", "40"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_views_that_cannot_be_used_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = np.full((100, 100, 3), 120, np.uint8)
    cv2.imwrite(str(tmp_path / "1_visible.png"), grey)
    assert main([str(tmp_path), "--marker-mm", "40"]) == 2
    assert "expected 1_infrared.png beside 1_visible.png" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "1_thermal.png"), grey)
    out = tmp_path / "a.json"
    assert main([str(tmp_path), "--marker-mm", "40", "--out", str(out)]) == 2
    assert "expected views in which both cameras see markers" in capsys.readouterr().err
    assert not out.exists()


def test_too_few_views_are_refused() -> None:
    with pytest.raises(BadInput, match="expected at least 4 views"):
        fit_views(views()[:3])


def test_a_saved_alignment_is_read_back_and_a_broken_one_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    made = alignment()
    made.save(path)
    assert load_alignment(path) == made
    raw = json.loads(path.read_text())
    for change, told in (
        ({"matrix": [1, 2]}, "matrix: expected 9 numbers"),
        ({"format": 9}, "expected format 1"),
        ({"x": 1}, "other keys"),
    ):
        path.write_text(json.dumps({**raw, **change}))
        with pytest.raises(BadInput, match=told):
            load_alignment(path)
    with pytest.raises(BadInput, match="no such file"):
        load_alignment(tmp_path / "none.json")
