"""The synthetic streams and the infrared look-alike of a real clip."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from engines.errors import BadInput
from train import make_streams, render_pseudo_infrared
from train.datasets.pseudo_infrared import PseudoInfrared, render_video
from train.datasets.synthetic_stream_files import open_video_writer, write_streams
from train.datasets.synthetic_streams import (
    EMPTY_S,
    FIRST_IDENTITY,
    VIEWS,
    StreamRenderer,
    StreamShape,
    frame_count,
    plan_walks,
)

if TYPE_CHECKING:
    from pathlib import Path

    from engines.manifest import Modality

SHAPE = StreamShape(width_px=384, height_px=216, people=3)
MODALITIES: tuple[Modality, ...] = ("visible", "infrared")


def read_video(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(frame)
    capture.release()
    return np.stack(frames)


def test_everyone_walks_through_both_views_at_overlapping_times() -> None:
    shape = StreamShape()
    walks = plan_walks(shape, 0)
    assert [walk.identity for walk in walks] == list(range(FIRST_IDENTITY, FIRST_IDENTITY + 8))
    starts = sorted(walk.start_s for walk in walks)
    assert starts[0] >= EMPTY_S  # background subtraction sees the empty place first
    together = sum(
        one.start_s < other.start_s < one.start_s + one.duration_s - 2
        for one in walks
        for other in walks
        if one is not other
    )
    assert together >= 2
    assert 30 < frame_count(shape, walks) / shape.fps < 60


def test_people_of_the_streams_are_in_no_data_set() -> None:
    assert FIRST_IDENTITY > 533  # the last of SYSU-MM01


@pytest.mark.parametrize("modality", MODALITIES)
def test_boxes_hold_what_differs_from_the_empty_place(modality: Modality) -> None:
    renderer = StreamRenderer(modality, SHAPE, 0, "nir")
    empty_HWC = renderer.background_HWC
    checked = 0
    for number, (picture_HWC, sights) in enumerate(renderer.frames()):
        if number % 7 or number > 110:
            continue
        difference_HW = np.abs(cv2.blur(picture_HWC.astype(np.float32) - empty_HWC, (3, 3))).max(2)
        moving_HW = difference_HW > 14  # noise is below 2 after the blur; a shadow up to 30
        boxed_HW = np.zeros(moving_HW.shape, bool)
        for sight in sights:
            x, y, width, height = sight.box
            boxed_HW[y : y + height + 6, x - 6 if x > 6 else 0 : x + width + 6] = True  # 6 px: the shadow of the feet
            inside_HW = moving_HW[y : y + height, x : x + width]
            if width > 20:
                assert inside_HW.mean() > 0.15
                checked += 1
        partly_left_HW = moving_HW & ~boxed_HW
        assert partly_left_HW.mean() < 0.01  # someone who is less than a third inside has no box yet
    assert checked >= 8


def test_views_are_mirrored_and_see_different_paths() -> None:
    first: dict[str, list[int]] = {}
    for modality in MODALITIES:
        renderer = StreamRenderer(modality, SHAPE, 0, "nir")
        walk = renderer.walks[0]
        first[modality] = [round(renderer._position(walk, walk.start_s + second)[0]) for second in (2.0, 4.0)]
    assert first["visible"][0] < first["visible"][1]
    assert first["infrared"][0] > first["infrared"][1]


def test_videos_and_truth_are_written_together(tmp_path: Path) -> None:
    shape = StreamShape(width_px=192, height_px=108, people=1)
    frames = write_streams(tmp_path / "streams", shape, seed=0, infrared="thermal")
    assert sorted(path.name for path in (tmp_path / "streams").iterdir()) == [
        "infrared.mp4",
        "truth.json",
        "visible.mp4",
    ]
    truth = json.loads((tmp_path / "streams" / "truth.json").read_text())
    assert truth["fps"] == shape.fps
    assert set(truth["cameras"]) == set(VIEWS)
    for modality in MODALITIES:
        assert read_video(tmp_path / "streams" / f"{modality}.mp4").shape == (frames, 108, 192, 3)
        rows = truth["cameras"][modality]
        assert {row["identity"] for row in rows} == {FIRST_IDENTITY}
        assert all(row["box"][0] >= 0 and row["box"][0] + row["box"][2] <= 192 for row in rows)
    seen = [{row["frame"] for row in truth["cameras"][modality]} for modality in MODALITIES]
    assert len(seen[0] & seen[1]) > 20  # the same person, at the same time, in both


def test_a_folder_with_content_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    assert make_streams.main(["--out", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err


def test_nobody_in_the_streams_is_refused() -> None:
    with pytest.raises(BadInput, match="got 0"):
        plan_walks(StreamShape(people=0), 0)


def test_pseudo_infrared_keeps_frames_and_rate_but_is_no_grey_copy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    source = tmp_path / "visible.mp4"
    writer = open_video_writer(source, 12.5, 128, 96)
    for _ in range(7):
        writer.write(cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (128, 96), interpolation=cv2.INTER_NEAREST))
    writer.release()
    assert render_video(source, tmp_path / "infrared.mp4", seed=0) == 7
    capture = cv2.VideoCapture(str(tmp_path / "infrared.mp4"))
    assert (capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)) == (12.5, 7)
    capture.release()


def test_pseudo_infrared_changes_the_brightness_order_of_colours() -> None:
    blue, red = np.zeros((96, 128, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)
    blue[...], red[...] = (230, 150, 60), (40, 40, 150)  # a light blue, a dark red
    mapping = PseudoInfrared(96, 128, 0)
    luma = [float(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).mean()) for image in (blue, red)]
    infrared = [float(mapping(image).mean()) for image in (blue, red)]
    assert luma[0] > luma[1]
    assert infrared[0] < infrared[1]


@pytest.mark.parametrize("content", [None, b"", b"not a video at all" * 50])
def test_a_bad_video_is_one_line_and_exit_code_2(
    content: bytes | None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "clip.mp4"
    if content is not None:
        source.write_bytes(content)
    assert render_pseudo_infrared.main([str(source), "--out", str(tmp_path / "out.mp4")]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("render_pseudo_infrared: ")]
    assert len(lines) == 1
    assert not (tmp_path / "out.mp4").exists()
