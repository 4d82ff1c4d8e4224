"""The loop from scripted cameras to records."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deploy.assembly.onlookers import CropOnlooker
from deploy.loop.load import LoadGovernor
from deploy.sightings import TrackKey
from deploy.tracking.crop_recorder import CropRecorder, RecordSettings
from tests.camera_fakes import ColourBackend, ScriptedDetector
from tests.camera_runs import GREY, PeopleSource, Run, people
from train.datasets.images import read_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.loop.pipeline import Seen
    from deploy.loop.run_state import RunState
    from deploy.matching.matcher import Decision
    from engines.manifest import Modality


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
    assert isinstance(run.backend, ColourBackend)
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


def test_the_crops_that_are_embedded_are_recorded(tmp_path: Path) -> None:
    with CropRecorder(tmp_path, RecordSettings(least_free_mb=0)) as recorder:
        run = Run(onlookers=[CropOnlooker(recorder)])
        run.go()
        assert not recorder._tracks  # pyright: ignore[reportPrivateUsage]
    assert embedded(run) == {"visible": 6, "infrared": 6}
    for modality, count in embedded(run).items():
        tracks = sorted((tmp_path / modality).iterdir())
        assert [track.name[-5:] for track in tracks] == ["00001", "00002"]
        assert sum(len(list(track.iterdir())) for track in tracks) == count
        # Before the resize: a box of 30 x 80 and its margin; track 1 is the darker person.
        for track, grey in zip(tracks, GREY.values(), strict=True):
            image_HWC = read_image(min(track.iterdir()))
            assert image_HWC.shape == (88, 34, 3)
            assert abs(float(image_HWC[8:80, 8:26].mean()) - grey) < 3


def embedded(run: Run) -> dict[str, int]:
    assert isinstance(run.backend, ColourBackend)
    batches = run.backend.batches
    return {modality: sum(n for name, n in batches if name == modality) for modality, _ in batches}


@dataclass
class Onlooker:
    """Counts what it is shown; raises where it is told to."""

    raising: bool = False
    looks: int = 0
    ended: list[TrackKey] = field(default_factory=list)
    crops: int = 0
    embeddings: int = 0

    def look(self, seen: Sequence[Seen], decide: Callable[[TrackKey], Decision], state: RunState) -> None:
        self.looks += 1
        self.crops += sum(len(item.crops) for item in seen)
        self.embeddings += len(seen[0].embeddings)
        if self.raising:
            raise OSError("the window is gone")

    def end(self, key: TrackKey, decision: Decision) -> None:
        self.ended.append(key)


def test_an_onlooker_sees_every_moment_and_hears_of_every_end() -> None:
    onlooker = Onlooker()
    Run(onlookers=[onlooker]).go()
    assert (onlooker.looks, onlooker.crops, onlooker.embeddings) == (30, 12, 12)
    assert sorted(onlooker.ended) == [TrackKey(camera, track) for camera in ("infrared", "visible") for track in (1, 2)]


def test_an_onlooker_that_raises_is_sent_away_and_the_run_goes_on() -> None:
    broken, good = Onlooker(raising=True), Onlooker()
    end = Run(onlookers=[broken, good]).go()
    assert (broken.looks, good.looks, end.identities) == (1, 30, 2)


def test_a_detector_that_fails_for_a_while_costs_no_track() -> None:
    flaky = ScriptedDetector(people(1, 2))
    flaky.failures = 2
    end = Run(detectors={"visible": flaky}).go()
    assert end.detect_failures == 2
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert end.matched_identities == 2


def test_an_engine_that_never_works_leaves_the_tracks() -> None:
    run = Run(backend=ColourBackend(failures=10**6))
    end = run.go()
    assert end.identities == 0
    assert end.tracks == {"visible": 2, "infrared": 2}
    assert end.embed_failures >= 3
    assert [(record["part"], record["over"]) for record in run.records("trouble")] == [("engine", False)]


def test_an_engine_that_comes_back_is_told_and_used() -> None:
    run = Run(backend=ColourBackend(failures=2))
    end = run.go()
    assert end.identities == 2
    assert [(record["part"], record["over"]) for record in run.records("trouble")] == [
        ("engine", False),
        ("engine", True),
    ]


def test_an_engine_whose_numbers_are_not_finite_has_failed() -> None:
    class Broken(ColourBackend):
        def embed(self, image_BHWC: NDArray[np.uint8], modality: Modality) -> NDArray[np.float32]:
            return super().embed(image_BHWC, modality) * np.float32(np.nan)

    end = Run(backend=Broken()).go()
    assert (end.identities, end.tracks["visible"]) == (0, 2)
    assert end.embed_failures > 0


def test_detection_on_every_second_frame_keeps_the_tracks() -> None:
    detector = ScriptedDetector(people(1, 2))
    governor = LoadGovernor(level=2)
    sources = [PeopleSource(images=60, live=True, before_grab=lambda number: time.sleep(0.01)) for _ in range(2)]
    run = Run(
        visible=sources[0], infrared=sources[1], detectors={"visible": detector}, governor=governor, max_frames=35
    )
    end = run.go()
    assert end.tracks["visible"] == 2
    assert len(detector.seen) <= 0.6 * end.frames["visible"]


def test_the_state_is_left_for_others_to_read() -> None:
    run = Run()
    run.go()
    state = run.pipeline.newest.state
    assert (state.identities, state.matched_identities, state.people) == (2, 2, 2)
    assert [camera.state for camera in state.cameras] == ["ended", "ended"]
    assert state.crops == 12


def test_attendants_are_called_every_moment() -> None:
    calls: list[int] = []
    Run(attendants=[lambda: calls.append(1)]).go()
    assert len(calls) >= 30
