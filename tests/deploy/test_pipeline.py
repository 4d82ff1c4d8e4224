"""The loop from scripted cameras to records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import tests.camera_runs
from deploy.crop_recorder import CropRecorder, RecordSettings
from deploy.pipeline import Pipeline
from tests.camera_runs import GREY, Run, people
from train.datasets.images import read_image

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_two_people_are_found_matched_and_reported() -> None:
    run = Run()
    end = run.go()
    assert end.reason == "end of the streams"
    assert end.frames == {"visible": 30, "infrared": 30}
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert (end.identities, end.matched_identities) == (2, 2)
    identity = {(r["camera"], r["track"]): r["identity"] for r in run.records("track")}
    assert identity == {("visible", 1): 1, ("visible", 2): 2, ("infrared", 1): 1, ("infrared", 2): 2}


def test_crops_of_one_modality_go_to_the_engine_together() -> None:
    run = Run()
    run.go()
    # Two people, at the frames 0, 10 and 20.
    assert run.backend.batches == [("visible", 2), ("infrared", 2)] * 3


def test_sightings_come_at_the_cadence_and_when_the_identity_changes() -> None:
    run = Run(find={"visible": people(1), "infrared": lambda index: people()(index)})
    run.go()
    frames = [record["frame"] for record in run.records("sighting")]
    assert frames == [0, 10, 20]


def test_without_a_threshold_nobody_is_named() -> None:
    run = Run(threshold=None)
    end = run.go()
    assert end.identities == 0
    assert {record["identity"] for record in run.records("track")} == {None}
    assert all(record["similarity"] is not None for record in run.records("track"))


def test_every_box_is_recorded_on_request() -> None:
    run = Run(every_box=True)
    run.go()
    assert len(run.records("box")) == 2 * 2 * 30
    assert not Run().records("box")


def test_the_frame_limit_ends_the_run() -> None:
    run = Run(max_frames=7)
    end = run.go()
    assert (end.reason, max(end.frames.values())) == ("max frames", 7)
    assert len(run.records("track")) == 4


def test_a_request_to_stop_ends_the_run_with_all_tracks_reported() -> None:
    run = Run()
    calls = iter(range(10**6))
    run.stopped = lambda: next(calls) > 20
    end = run.go()
    assert end.reason == "stopped"
    assert len(run.records("track")) == sum(end.tracks.values())
    assert len(run.records("end")) == 1


def test_totals_are_the_last_record() -> None:
    run = Run()
    end = run.go()
    assert run.sink.records[-1] is end  # type: ignore[attr-defined]
    assert set(end.stage_ms) >= {"detect", "track", "crop", "embed", "match", "report"}


def test_the_crops_that_are_embedded_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run()
    with CropRecorder(tmp_path, RecordSettings(least_free_mb=0)) as recorder:
        monkeypatch.setattr(tests.camera_runs, "Pipeline", partial(Pipeline, recorder=recorder))
        run.go()
        assert not recorder._tracks  # pyright: ignore[reportPrivateUsage]
    embedded = {
        modality: sum(n for name, n in run.backend.batches if name == modality) for modality, _ in run.backend.batches
    }
    assert embedded == {"visible": 6, "infrared": 6}
    for modality, count in embedded.items():
        tracks = sorted((tmp_path / modality).iterdir())
        assert [track.name[-5:] for track in tracks] == ["00001", "00002"]
        assert sum(len(list(track.iterdir())) for track in tracks) == count
        # Before the resize: a box of 30 x 80 and its margin; track 1 is the darker person.
        for track, grey in zip(tracks, GREY.values(), strict=True):
            image_HWC = read_image(min(track.iterdir()))
            assert image_HWC.shape == (88, 34, 3)
            assert image_HWC[44, 17].tolist() == [grey] * 3
