"""What the loop leaves for the page: newest pictures, best crops, stays."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from deploy.cameras.frames import Frame
from deploy.gallery import GalleryError, MemoryGallery
from deploy.matching.matcher import Decision, Matcher
from deploy.matching.rules import SiteRules
from deploy.sightings import CameraChanged, Merge, Revision, RunEnd, Sighting, Split, TrackEnd, TrackKey
from deploy.thresholds.thresholds import fixed
from deploy.tracking.tracker import TrackedBox
from deploy.web.faces import Faces, thumbnail
from deploy.web.streams import stream_pictures
from deploy.web.tiles import Tiles
from deploy.web.timeline import Timeline
from engines.preprocess import batch_crops
from tests.web_run import BANDS, CAMERAS, WebRun, draw_person

KEY = TrackKey("door", 1)


def frame(value: int = 90, width: int = 640, camera: str = "door") -> Frame:
    image_HWC = np.full((width * 9 // 16, width, 3), value, np.uint8)
    return Frame(image_HWC=image_HWC, time_s=1.0, index=0, camera=camera, modality="visible")


def box(left: float, top: float, width: float, height: float) -> dict[TrackKey, TrackedBox]:
    return {KEY: TrackedBox(track=1, box_4=np.array([left, top, width, height], np.float32), score=0.9)}


def decoded(jpeg: bytes) -> np.ndarray:
    image_BGR = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image_BGR is not None
    return cv2.cvtColor(image_BGR, cv2.COLOR_BGR2RGB)


def test_a_picture_is_encoded_once_and_only_when_somebody_looks() -> None:
    tiles = Tiles()
    for value in range(5):
        tiles.update(frame(value), {}, {})
    assert (tiles.encoded, tiles.version("door")) == (0, 5)
    first, again = tiles.newest("door"), tiles.newest("door")
    assert first is again
    assert first is not None
    assert (tiles.encoded, first.version) == (1, 5)
    assert abs(int(decoded(first.jpeg)[5, 5, 0]) - 4) <= 2
    assert tiles.newest("another") is None


def test_the_box_is_drawn_in_the_persons_colour_where_the_person_is() -> None:
    tiles = Tiles()
    source = frame(90)
    tiles.update(source, box(200, 100, 80, 200), {KEY: Decision(identity=1)})
    tile = tiles.newest("door")
    assert tile is not None
    image_HWC = decoded(tile.jpeg)
    assert image_HWC.shape[:2] == (360, 640)
    np.testing.assert_allclose(image_HWC[200, 200], (64, 196, 255), atol=60)  # display.PALETTE's first
    np.testing.assert_allclose(image_HWC[200, 240], (90, 90, 90), atol=6)
    assert source.image_HWC.min() == 90  # the loop's own picture stays as it is


def test_large_pictures_are_scaled_down_and_small_ones_up() -> None:
    for width, shown in ((1920, 960), (160, 480), (700, 700)):
        tiles = Tiles()
        tiles.update(frame(width=width), box(width / 2, 10, 20, 40), {KEY: Decision()})
        tile = tiles.newest("door")
        assert tile is not None
        assert decoded(tile.jpeg).shape[1] == shown


def test_an_enrolled_name_stands_over_the_box() -> None:
    def labelled(names: dict[int, str]) -> bytes:
        tiles = Tiles(names=names)
        tiles.update(frame(), box(200, 100, 80, 200), {KEY: Decision(identity=1)})
        tile = tiles.newest("door")
        assert tile is not None
        return tile.jpeg

    assert labelled({1: "Anna"}) != labelled({})
    assert labelled({1: "名前"}) == labelled({})  # no letters for it in the built-in typeface


def test_waiting_for_a_picture_ends_with_the_picture_or_the_time() -> None:
    tiles = Tiles()
    tiles.update(frame(), {}, {})
    assert tiles.wait("door", 1, 0.01) == 1
    timer = threading.Timer(0.05, lambda: tiles.update(frame(), {}, {}))
    timer.start()
    assert tiles.wait("door", 1, 5) == 2
    timer.join()


def test_a_stream_sends_every_picture_once_and_again_after_a_pause() -> None:
    tiles, now_s = Tiles(), [0.0]
    tiles.update(frame(10), {}, {})
    parts = stream_pictures(tiles, "door", 1000, lambda: False, clock=lambda: now_s[0])
    first = next(parts)
    assert first.startswith(b"--crosslight\r\nContent-Type: image/jpeg\r\nContent-Length: ")
    now_s[0] += 5.0  # nothing new for five seconds: the reader hears that somebody is there
    assert next(parts) == first
    tiles.update(frame(200), {}, {})
    now_s[0] += 1.0
    assert next(parts) != first
    assert list(stream_pictures(tiles, "door", 8, lambda: True)) == []


def test_the_best_crop_of_a_track_becomes_the_face_when_it_ends() -> None:
    gallery = MemoryGallery(dim=BANDS)
    faces = Faces(gallery)
    for quality, value in ((0.3, 30), (0.8, 80), (0.5, 50), (0.82, 82)):
        faces.offer(KEY, "visible", np.full((200, 80, 3), value, np.uint8), quality)
    faces.hold(KEY, 7)
    live = faces.face(7, "visible")
    assert live is not None
    assert decoded(live)[50, 20, 0] == pytest.approx(80, abs=2)  # 0.82 is no more than a little better
    assert gallery.face(7, "visible") is None
    faces.end(KEY, 7)
    assert gallery.face(7, "visible") is not None


def test_a_track_that_was_revised_leaves_no_picture_with_the_wrong_person() -> None:
    gallery = MemoryGallery(dim=BANDS)
    faces = Faces(gallery)
    faces.offer(KEY, "visible", np.zeros((100, 40, 3), np.uint8), 0.5)
    faces.hold(KEY, 3)
    faces.hold(KEY, 4)
    assert faces.face(3, "visible") is None
    faces.end(KEY, 4)
    assert gallery.face(3, "visible") is None
    assert gallery.face(4, "visible") is not None
    faces.offer(KEY, "visible", np.zeros((100, 40, 3), np.uint8), 0.5)
    faces.end(KEY, None)
    assert gallery.face(4, "visible") is not None


def test_the_version_of_a_face_changes_with_the_face() -> None:
    faces = Faces(MemoryGallery(dim=BANDS))
    assert faces.version(1, "visible") is None
    faces.keep(1, "visible", np.full((100, 40, 3), 10, np.uint8), 0.4)
    before = faces.version(1, "visible")
    faces.keep(1, "visible", np.full((100, 40, 3), 200, np.uint8), 0.3)  # worse: the gallery leaves the first
    assert faces.version(1, "visible") == before
    faces.keep(1, "visible", np.full((100, 40, 3), 200, np.uint8), 0.9)
    assert faces.version(1, "visible") not in (before, None)


def test_a_thumbnail_is_small_and_never_a_sliver() -> None:
    assert thumbnail(np.zeros((1024, 400, 3), np.uint8)).shape == (256, 100, 3)
    assert thumbnail(np.zeros((2000, 20, 3), np.uint8)).shape == (256, 32, 3)
    assert thumbnail(np.zeros((60, 20, 3), np.uint8)).shape == (60, 20, 3)


def test_the_feed_forgets_tracks_that_ended_and_bounds_the_evidence() -> None:
    run = WebRun()
    for _ in range(12):
        run.show("door", "visible", [(1, 5, None)])
    found = run.feed.evidence(TrackKey("door", 5))
    assert found is not None
    assert (found[0], len(found[1])) == ("visible", 8)
    run.feed.end(TrackKey("door", 5), Decision())
    assert run.feed.evidence(TrackKey("door", 5)) is None


def test_a_gallery_that_fails_costs_a_face_and_not_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    run = WebRun()
    run.show("door", "visible", [(1, 5, 1)])

    def full(*_: object) -> None:
        raise GalleryError("the disk is full")

    monkeypatch.setattr(run.gallery, "keep_face", full)
    run.feed.end(TrackKey("door", 5), Decision(identity=1))
    assert run.faces.face(1, "visible") is None  # neither kept nor held on to


def test_operators_merges_reach_the_matcher_that_the_loop_uses() -> None:
    """The desk's side of the matcher, against the real one."""
    run = WebRun()
    matcher = Matcher(run.gallery, fixed(0.8), SiteRules(CAMERAS))
    matcher.see(TrackKey("door", 5), "visible", run.time_s)
    matcher.add(TrackKey("door", 5), run.part.embed(batch_crops([draw_person(1, "visible")], 96, 48), "visible")[0])
    matcher.decide(run.time_s)
    run.desk.live = matcher
    run.show("door", "visible", [(1, 5, matcher.decision(TrackKey("door", 5)).identity)])
    run.remember(2, "yard", "visible", 9, ago_s=300)
    run.desk.merge(2, 1)
    assert matcher.decision(TrackKey("door", 5)).identity == 2
    changes = matcher.decide(run.time_s)
    assert [(change.kept, change.absorbed) for change in changes if isinstance(change, Merge)] == [(2, 1)]
    for change in changes:
        run.write(change)
    run.desk.erase(2)
    assert matcher.decision(TrackKey("door", 5)).identity not in (1, 2)


def sighting(time_s: float, track: int = 1, identity: int | None = 1, similarity: float | None = None) -> Sighting:
    return Sighting(
        time_s=time_s,
        frame=0,
        camera="door",
        modality="visible",
        track=track,
        identity=identity,
        box_px=(0, 0, 1, 1),
        similarity=similarity,
        matched_track=TrackKey("door-ir", 1) if similarity else None,
    )


def ended(first_s: float, last_s: float, track: int = 1, identity: int | None = 1) -> TrackEnd:
    return TrackEnd(
        camera="door",
        modality="visible",
        track=track,
        identity=identity,
        first_s=first_s,
        last_s=last_s,
        first_frame=0,
        last_frame=1,
        crops=1,
        similarity=None,
        matched_track=None,
        rejects={},
    )


def test_a_stay_grows_with_sightings_and_ends_with_its_track() -> None:
    timeline = Timeline(origin_s=1000)
    timeline.write(sighting(1))
    timeline.write(sighting(5))
    (stay,) = timeline.stays()
    assert (stay.first_s, stay.last_s, stay.live) == (1001, 1005, True)
    timeline.write(ended(0.5, 6))
    (stay,) = timeline.stays()
    assert (stay.first_s, stay.last_s, stay.live) == (1000.5, 1006, False)


def test_old_stays_follow_revisions_splits_and_merges() -> None:
    timeline = Timeline()
    timeline.write(ended(0, 1, track=1, identity=1))
    timeline.write(ended(2, 3, track=2, identity=2))
    timeline.write(sighting(4, track=3, identity=2))
    timeline.write(Merge(time_s=5, kept=1, absorbed=2, similarity=None))
    assert [stay.identity for stay in timeline.stays()] == [1, 1, 1]
    timeline.write(Split(time_s=6, track=TrackKey("door", 3), before=1, after=4))
    assert [stay.identity for stay in timeline.stays()] == [4, 1, 1]
    timeline.write(Revision(time_s=7, track=TrackKey("door", 3), before=4, after=5))
    assert timeline.here() == {5: timeline.stays(live=True)}


def test_stays_are_asked_by_time_person_and_number() -> None:
    timeline = Timeline()
    for track in range(10):
        timeline.write(ended(track, track + 0.5, track=track, identity=track % 2))
    assert [stay.track for stay in timeline.stays(limit=3)] == [9, 8, 7]
    assert [stay.track for stay in timeline.stays(since_s=7.2, until_s=8.1)] == [8, 7]
    assert [stay.track for stay in timeline.stays(identity=1)] == [9, 7, 5, 3, 1]


def test_the_timeline_is_bounded() -> None:
    timeline = Timeline(most_stays=50)
    for track in range(200):
        timeline.write(ended(track, track + 1, track=track))
    for track in range(1500):  # tracks whose end never came
        timeline.write(sighting(1000 + track, track=10_000 + track))
    assert len(timeline.stays(live=False)) == 50
    assert len(timeline.stays(live=True)) == 1000


def test_only_a_match_counts_as_the_similarity_of_a_person() -> None:
    timeline = Timeline()
    timeline.write(sighting(1, track=1, identity=1, similarity=0.7))
    timeline.write(sighting(2, track=1, identity=1))  # the partner has left; what was measured stays
    timeline.write(sighting(3, track=2, identity=2))
    assert timeline.similarities() == {1: 0.7}


def test_a_lost_camera_is_a_gap_until_it_delivers_again() -> None:
    timeline = Timeline(origin_s=100)
    for time_s, state in ((0, "opening"), (1, "running"), (5, "reconnecting"), (6, "failed")):
        timeline.write(CameraChanged(time_s=time_s, camera="door", state=state, reason="x"))
    timeline.write(CameraChanged(time_s=8, camera="yard", state="holding", reason=""))
    gaps = [(gap.camera, gap.state, gap.first_s, gap.last_s) for gap in timeline.gaps()]
    assert gaps == [("door", "failed", 106, None), ("door", "reconnecting", 105, 106), ("door", "opening", 100, 101)]
    assert len(timeline.gaps(since_s=104)) == 2


def test_the_end_of_a_run_ends_every_stay() -> None:
    timeline = Timeline()
    timeline.write(sighting(1))
    end = RunEnd(
        reason="stopped", seconds=1, moments=1, frames={}, dropped={}, reconnects={}, tracks={}, identities=1,
        matched_identities=0, rejects={}, embed_failures=0, detect_failures=0, lost_records={}, stage_ms={},
    )  # fmt: skip
    timeline.write(end)
    assert [stay.live for stay in timeline.stays()] == [False]


def test_erasing_takes_the_stays_and_leaves_live_tracks_as_nobodys() -> None:
    timeline = Timeline()
    timeline.write(ended(0, 1, track=1, identity=1))
    timeline.write(sighting(2, track=2, identity=1, similarity=0.9))
    assert timeline.erase(1) == 2
    (stay,) = timeline.stays()
    assert (stay.track, stay.identity, stay.similarity) == (2, None, None)
