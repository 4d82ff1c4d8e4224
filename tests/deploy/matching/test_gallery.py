"""How the matcher uses a gallery: no more often than it must, and also where it fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deploy.gallery import GalleryError, Hit, MemoryGallery, Tracklet
from deploy.gallery.patient import RETRY_S, PatientGallery
from deploy.matching.live_tracks import MOST_EMBEDDINGS
from deploy.sightings import TrackKey
from deploy.thresholds.thresholds import Thresholds
from tests.camera_fakes import vector
from tests.deploy.matching.matching_scenes import Scene, thresholds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from engines.manifest import Modality

A, B = vector(1, 0, 0, 0), vector(0, 1, 0, 0)


@dataclass(eq=False)
class WatchedGallery(MemoryGallery):
    """Counts searches by number of queries, and fails where it is told to."""

    searches: list[int] = field(default_factory=list)
    away: bool = False  # nothing works
    full: bool = False  # nothing can be written

    def search(
        self, query_QD: np.ndarray, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        self.searches.append(len(query_QD))
        self._fail(self.away)
        return super().search(query_QD, modality, limit, cameras=cameras)

    def enrol(self, tracklet: Tracklet) -> None:
        self._fail(self.away or self.full)
        super().enrol(tracklet)

    def new_identity(self) -> int:
        self._fail(self.away or self.full)
        return super().new_identity()

    def tracklets(self, identity: int) -> list[Tracklet]:
        self._fail(self.away)
        return super().tracklets(identity)

    def merge(self, kept: int, absorbed: int) -> None:
        self._fail(self.away or self.full)
        super().merge(kept, absorbed)

    def _fail(self, failing: bool) -> None:
        if failing:
            raise GalleryError("the disk is full")


class PatientScene:
    """A scene over a gallery that waits for its disk, as the loop has it; its clock is the scene's."""

    def __init__(self, disk: WatchedGallery) -> None:
        self._now_s = 0.0
        self._gallery = PatientGallery(disk, lambda: self._now_s)
        self._scene = Scene(gallery=self._gallery)
        self.end, self.ids = self._scene.end, self._scene.ids

    def step(self, time_s: float, seen: Mapping[TrackKey, np.ndarray | None]) -> None:
        self._now_s = time_s
        self._gallery.tend()
        self._scene.step(time_s, seen)


def keys(count: int, name: str) -> list[TrackKey]:
    return [TrackKey(name, number) for number in range(1, count + 1)]


def looks(count: int) -> list[np.ndarray]:
    return list(np.eye(count, dtype=np.float32))


def test_one_search_per_stored_modality_serves_all_tracks_of_a_decision() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery)
    tracks = [*keys(8, "visible"), *keys(8, "infrared")]
    scene.step(0.0, dict(zip(tracks, looks(16), strict=True)))
    assert gallery.searches == [16, 16]


def test_nothing_is_searched_where_nothing_changed_and_only_what_changed_is() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery)
    tracks = [*keys(8, "visible"), *keys(8, "infrared")]
    scene.step(0.0, dict(zip(tracks, looks(16), strict=True)))
    gallery.searches.clear()
    for tick in range(1, 51):
        scene.step(tick / 25, dict.fromkeys(tracks))
    assert gallery.searches == []
    scene.step(3.0, {**dict.fromkeys(tracks), tracks[3]: looks(16)[3]})
    assert gallery.searches == [1, 1]


def test_tracks_without_a_past_are_looked_up_when_somebody_is_stored() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery)
    tracks = keys(4, "visible")
    scene.step(0.0, dict(zip(tracks, looks(4), strict=True)))
    scene.end(tracks[0])
    gallery.searches.clear()
    scene.step(1.0, dict.fromkeys(tracks[1:]))
    scene.step(2.0, dict.fromkeys(tracks[1:]))
    assert gallery.searches == [3, 3]


def test_somebody_who_was_known_again_is_looked_up_at_the_1st_2nd_4th_and_8th_crop() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery)
    first, again = keys(2, "visible")
    scene.step(0.0, {first: A})
    scene.end(first)
    gallery.searches.clear()
    searched: list[int] = []
    for crop in range(1, 9):
        before = len(gallery.searches)
        scene.step(10.0 + crop, {again: A})
        searched += [crop] if len(gallery.searches) > before else []
    assert searched == [1, 2, 4, 8]
    assert scene.ids(again) == [1]


def test_the_threshold_is_that_of_as_many_people_times_the_searches_made() -> None:
    asked: list[tuple[str, int]] = []

    class Curve(Thresholds):
        def least(self, direction: str, people: int) -> float:
            asked.append((direction, people))
            return 0.9

    scene = Scene(thresholds=Curve())
    tracks = keys(3, "visible")
    scene.step(0.0, dict(zip(tracks, looks(4)[:3], strict=True)))
    scene.end(*tracks)
    asked.clear()
    pair = TrackKey("visible", 9), TrackKey("infrared", 9)
    scene.step(9.0, dict(zip(pair, [A, A], strict=True)))
    # Three people are stored, all in visible pictures; the two tracks of the group are searched there once each.
    assert set(asked) == {("together", 1), ("visible->visible", 6), ("infrared->visible", 6)}


def test_a_full_disk_stores_everybody_later() -> None:
    disk = WatchedGallery()
    scene = PatientScene(disk)
    first, second, third = keys(3, "visible")
    scene.step(0.0, {first: A})
    disk.full = True
    scene.end(first)
    assert len(disk) == 0
    scene.step(1.0, {second: B})
    disk.full = False
    scene.step(1.0 + RETRY_S, {second: B})
    assert [tracklet.last_s for tracklet in disk.tracklets(1)] == [0.0]
    scene.step(9.0, {third: A, second: None})
    assert scene.ids(second, third) == [2, 1]


def test_what_waits_to_be_stored_still_rules_out_what_nobody_can_do() -> None:
    """Somebody met before stands beside a double; while his new track waits for the disk, the double cannot be him."""
    disk = WatchedGallery()
    scene = PatientScene(disk)
    before, again, double = keys(3, "visible")
    scene.step(0.0, {before: A})
    scene.end(before)
    scene.step(5.0, {again: A, double: A})
    held = scene.ids(again, double)
    assert held[0] != held[1]
    assert 1 in held
    disk.full = True
    scene.end((again, double)[held.index(1)])
    scene.step(6.0, {(again, double)[1 - held.index(1)]: A})
    assert scene.ids((again, double)[1 - held.index(1)]) == [2]


def test_a_gallery_that_is_away_names_nobody_wrongly_and_is_not_asked_all_the_time() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery)
    first, again = keys(2, "visible")
    scene.step(0.0, {first: A})
    scene.end(first)
    gallery.away = True
    gallery.searches.clear()
    for tick in range(50):
        scene.step(9.0 + tick / 25, {again: A if tick == 0 else None})
    assert scene.ids(again) == [None]
    assert len(gallery.searches) <= 1
    gallery.away = False
    scene.step(12.0, {again: None})
    assert scene.ids(again) == [1]


def test_a_track_that_ends_while_the_gallery_is_away_is_stored_later() -> None:
    server = WatchedGallery()
    scene = PatientScene(server)
    (first,) = keys(1, "visible")
    scene.step(0.0, {first: A})
    server.away = True
    scene.end(first)
    server.away = False
    scene.step(9.0, {})
    assert [person.identity for person in server.people()] == [1]


def test_a_merge_that_cannot_be_written_leaves_two_and_is_tried_again() -> None:
    gallery = WatchedGallery()
    scene = Scene(gallery=gallery, thresholds=thresholds(0.6, same=0.9))
    visible, infrared = keys(2, "visible"), keys(2, "infrared")
    scene.step(0.0, {visible[0]: A})
    scene.end(visible[0])
    scene.step(5.0, {infrared[0]: B})
    scene.end(infrared[0])
    scene.step(10.0, {visible[1]: A, infrared[1]: B})
    gallery.full = True
    assert scene.step(11.0, {visible[1]: A, infrared[1]: A}) == []
    assert scene.ids(visible[1], infrared[1]) == [1, 2]
    gallery.full = False
    assert len(scene.step(12.0, {visible[1]: A, infrared[1]: A})) == 1
    assert scene.ids(visible[1], infrared[1]) == [1, 1]


def test_memory_is_bounded_however_long_people_stay_and_however_many_pass() -> None:
    gallery = WatchedGallery(most_tracklets=10)
    matcher = Scene(gallery=gallery, alignment=lambda visible, infrared: None).matcher
    stayer = TrackKey("visible", 10**6)
    for number in range(1, 301):
        passer = TrackKey("infrared", number)
        matcher.see(stayer, "visible", float(number))
        matcher.see(passer, "infrared", float(number))
        matcher.add(stayer, A, 1.0)
        matcher.add(passer, vector(0.1, *np.random.default_rng(number).normal(size=3)), 1.0)
        matcher.decide(float(number))
        if number > 3:
            matcher.end(TrackKey("infrared", number - 3))
    assert len(matcher._live[stayer].evidence) == MOST_EMBEDDINGS
    holders = [matcher._live, matcher._standing, matcher._recall._found, matcher._positions._looks, matcher._watched]
    assert all(len(holder) <= 4 for holder in holders)
    assert len(matcher._pasts._stays) <= 256
    assert len(gallery) == 10


@pytest.mark.parametrize("people", [0, 3])
def test_an_embedding_does_not_keep_its_batch_alive(people: int) -> None:
    scene = Scene()
    batch = np.eye(4, dtype=np.float32)
    scene.step(0.0, {TrackKey("visible", 1): batch[people]})
    assert all(row.base is None for row in scene.matcher._live[TrackKey("visible", 1)].evidence._rows)
