"""What an operator asks and does, on the gallery and the timeline of a drawn run."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.sightings import Merge, TrackKey
from deploy.web.desk import Unavailable
from deploy.web.desk_people import Unknown, recent_stays
from deploy.web.desk_views import Picture
from deploy.web.timeline import Timeline
from engines.errors import BadInput
from tests.web_run import EVIL, WebRun, draw_person


@pytest.fixture
def run() -> WebRun:
    return WebRun().populate()


def picture(*people: int, modality: str = "visible", person: int = 0) -> Picture:
    """People side by side on plain ground, the first one the biggest."""
    image_HWC = np.full((260, 160 * len(people), 3), 120, np.uint8)
    for place, who in enumerate(people):
        height = 240 if place == 0 else 168
        drawn_HWC = draw_person(who, modality, (height, height * 100 // 240))  # type: ignore[arg-type]
        top, left = 10, 160 * place + 20
        image_HWC[top : top + drawn_HWC.shape[0], left : left + drawn_HWC.shape[1]] = drawn_HWC
    return Picture(image_HWC, modality, person)  # type: ignore[arg-type]


def test_people_in_the_pictures_come_first_then_the_last_seen(run: WebRun) -> None:
    found = run.desk.people()
    assert [person.identity for person in found.people] == [2, 3, 1]
    assert found.people[0].here == ("door", "door-ir")
    assert found.people[0].similarity == 0.88
    assert found.total == 3


def test_people_are_found_by_name_and_by_number(run: WebRun) -> None:
    run.desk.rename(1, "Anna Berg")
    assert [person.identity for person in run.desk.people("anna").people] == [1]
    assert [person.identity for person in run.desk.people("id 2").people] == [2]
    assert run.desk.people("nobody of this name").people == ()
    assert (len(run.desk.people(limit=2).people), run.desk.people(limit=2).total) == (2, 3)


def test_somebody_who_never_left_the_picture_is_a_person_already(run: WebRun) -> None:
    run.show("door", "visible", [(4, 30, 9)])
    nine = next(person for person in run.desk.people().people if person.identity == 9)
    assert (nine.tracklets, nine.here, nine.visible_face is not None) == (0, ("door",), True)


def test_a_persons_stays_are_those_of_the_gallery_and_of_the_run_each_once(run: WebRun) -> None:
    detail = run.desk.person(1)
    assert [(stay.camera, stay.track, stay.live) for stay in detail.stays] == [
        ("door-ir", 1, False),
        ("door", 1, False),
    ]
    assert detail.across == pytest.approx(1, abs=0.05)  # drawn in the same greys
    assert run.desk.person(2).across is None  # no tracklet of his was infrared
    with pytest.raises(Unknown, match="number 99"):
        run.desk.person(99)


def test_a_run_begins_with_what_the_gallery_knows_of_earlier_ones(run: WebRun) -> None:
    run.desk.rename(1, "Anna")
    timeline = Timeline(origin_s=run.origin_s + 3600)
    timeline.remember(recent_stays(run.gallery, most_people=2))
    assert [(stay.identity, stay.camera) for stay in timeline.stays()] == [(3, "door"), (2, "door")]
    timeline.remember(recent_stays(run.gallery)[:1])
    assert all(not stay.live for stay in timeline.stays())


def test_a_search_finds_the_same_person_across_modalities(run: WebRun) -> None:
    result = run.desk.search(picture(1, modality="infrared"))
    assert len(result.boxes) == 1
    assert result.hits[0].person.identity == 1
    assert result.hits[0].above is True
    assert (result.least_visible, result.least_infrared) == (
        0.8,
        0.9,
    )  # fixed(0.8): half of the way to 1 in one modality
    assert [hit.above for hit in result.hits].count(True) == 1


def test_a_search_takes_the_biggest_person_unless_another_is_chosen(run: WebRun) -> None:
    both = run.desk.search(picture(2, 3))
    assert [round(box[0]) > 100 for box in both.boxes] == [False, True]
    assert (both.chosen, both.hits[0].person.identity) == (0, 2)
    other = run.desk.search(picture(2, 3, person=1))
    assert (other.chosen, other.hits[0].person.identity) == (1, 3)
    with pytest.raises(BadInput, match="from 0 to 1"):
        run.desk.search(picture(2, 3, person=2))


def test_a_picture_in_which_nobody_is_found_is_one_person(run: WebRun) -> None:
    whole = Picture(draw_person(3, "visible")[20:230, 20:80], "visible")
    run.desk.detector = None
    result = run.desk.search(whole)
    assert (result.boxes, result.chosen) == ((), None)
    assert len(result.hits) == 3


def test_without_thresholds_nothing_is_called_a_match() -> None:
    run = WebRun(calibrated=False).populate()
    result = run.desk.search(picture(1))
    assert {hit.above for hit in result.hits} == {None}
    assert (result.least_visible, result.least_infrared) == (None, None)


def test_an_engine_that_fails_is_said_to(run: WebRun) -> None:
    run.part.failing = True
    with pytest.raises(Unavailable, match="device lost"):
        run.desk.search(picture(1))


def test_enrolled_people_are_found_by_their_other_modality(run: WebRun) -> None:
    done = run.desk.enrol("  Dora \n Deen ", [picture(4), picture(4, modality="infrared")])
    assert (done.person.label, done.person.enrolled) == ("Dora Deen", True)
    assert done.person.visible_face is not None
    assert done.person.infrared_face is not None
    assert run.desk.search(picture(4, modality="infrared")).hits[0].person.identity == done.person.identity
    assert run.desk.names() == {3: EVIL, done.person.identity: "Dora Deen"}


def test_whoever_resembles_an_enrolled_person_is_named(run: WebRun) -> None:
    done = run.desk.enrol("Anna", [picture(1)])
    assert [hit.person.identity for hit in done.similar] == [1]


def test_nothing_is_kept_of_an_enrolment_that_fails(run: WebRun) -> None:
    before = len(run.gallery), run.gallery.last_identity
    for name, pictures in (("", [picture(4)]), ("x" * 81, [picture(4)]), ("a\x00b", [picture(4)]), ("Dora", [])):
        with pytest.raises(BadInput):
            run.desk.enrol(name, pictures)
    with pytest.raises(BadInput):
        run.desk.enrol("Dora", [picture(4), picture(4, person=7)])
    run.part.failing = True
    with pytest.raises(Unavailable):
        run.desk.enrol("Dora", [picture(4)])
    assert (len(run.gallery), run.gallery.last_identity) == before


def test_a_live_track_without_an_identity_becomes_a_person(run: WebRun) -> None:
    done = run.desk.enrol_track(TrackKey("door", 8), "Dora")
    assert done.person.label == "Dora"
    assert done.person.visible_face is not None
    hits = run.desk.search(picture(4)).hits
    assert (hits[0].person.label, hits[0].above) == ("Dora", True)
    with pytest.raises(Unknown, match="has ended"):
        run.desk.enrol_track(TrackKey("door", 99), "Nobody")


def test_a_live_track_with_an_identity_is_named_as_that(run: WebRun) -> None:
    assert run.desk.enrol_track(TrackKey("door-ir", 7), "Bea").person.identity == 2
    run.show("door", "visible", [(4, 30, 9)])  # nothing of him is stored yet
    assert run.desk.enrol_track(TrackKey("door", 30), "Newcomer").person.identity == 9
    assert run.desk.people("newcomer").total == 1


def test_a_name_is_given_and_taken_back(run: WebRun) -> None:
    assert run.desk.rename(1, "Anna").label == "Anna"
    assert run.desk.rename(1, "  ").label == ""
    with pytest.raises(Unknown):
        run.desk.rename(99, "Nobody")


def test_two_people_become_one_and_the_records_say_so(run: WebRun) -> None:
    run.records.clear()
    kept = run.desk.merge(1, 3)
    assert (kept.identity, kept.label, kept.tracklets) == (1, EVIL, 3)
    assert [person.identity for person in run.desk.people().people] == [2, 1]
    assert run.live.told == [("follow", 1, 3)]
    merges = [record for record in run.records if isinstance(record, Merge)]
    assert [(merge.kept, merge.absorbed) for merge in merges] == [(1, 3)]
    assert {stay.identity for stay in run.timeline.stays()} == {1, 2, None}
    with pytest.raises(BadInput, match="twice"):
        run.desk.merge(1, 1)
    with pytest.raises(Unknown):
        run.desk.merge(1, 3)


def test_the_merge_of_somebody_in_the_picture_is_the_matchers_to_report(run: WebRun) -> None:
    run.records.clear()
    run.desk.merge(1, 2)
    assert run.live.told == [("follow", 1, 2)]
    assert not run.records


def test_erasing_leaves_nothing_of_a_person(run: WebRun) -> None:
    assert run.faces.version(2, "visible") is not None
    done = run.desk.erase(2)
    # One tracklet of before; the stays are that one and two live tracks.
    assert (done.tracklets, done.stays) == (1, 3)
    assert run.live.told == [("forget", 2, 0)]
    assert run.gallery.tracklets(2) == []
    assert run.desk.face(2, "visible") is None
    assert run.desk.face(2, "infrared") is None
    assert run.faces.version(2, "visible") is None
    assert all(stay.identity != 2 for stay in run.timeline.stays())
    with pytest.raises(Unknown):
        run.desk.person(2)
    with pytest.raises(Unknown):
        run.desk.erase(2)
