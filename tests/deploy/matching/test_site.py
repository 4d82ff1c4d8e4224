"""More than two cameras, more than one place, and where people stand."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.matching.groups import linkage
from deploy.settings.site_plan import Transit
from deploy.sightings import Split, TrackKey
from deploy.thresholds.thresholds import Thresholds
from tests.camera_fakes import vector
from tests.deploy.matching.matching_scenes import Scene, camera, thresholds

A, B, C = vector(1, 0, 0, 0), vector(0, 1, 0, 0), vector(0, 0, 1, 0)
TRIO = (camera("left-visible"), camera("right-visible"), camera("infrared"))
L1, L2, L3 = (TrackKey("left-visible", number) for number in (1, 2, 3))
R1, R2, R3 = (TrackKey("right-visible", number) for number in (1, 2, 3))
I1, I2, I3 = (TrackKey("infrared", number) for number in (1, 2, 3))
TWO_PLACES = (
    camera("door-visible", "door"),
    camera("door-infrared", "door"),
    camera("yard-visible", "yard"),
    camera("yard-infrared", "yard"),
)
DV1, DV2 = TrackKey("door-visible", 1), TrackKey("door-visible", 2)
DI1 = TrackKey("door-infrared", 1)
YV1, YV2 = TrackKey("yard-visible", 1), TrackKey("yard-visible", 2)
YI1 = TrackKey("yard-infrared", 1)


def at(degrees: float) -> np.ndarray:
    """A unit vector at an angle from A towards B."""
    return vector(float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees))), 0, 0)


def test_three_cameras_of_one_place_make_one_person_of_three_tracks() -> None:
    scene = Scene(cameras=TRIO)
    scene.step(0.0, {L1: A, L2: B, R1: B, R2: A, I1: A, I2: B})
    assert len(set(scene.ids(L1, R2, I1))) == len(set(scene.ids(L2, R1, I2))) == 1
    assert scene.ids(L1) != scene.ids(L2)
    assert scene.matcher.decision(L1).matched == I1  # the other modality first
    assert scene.matcher.decision(I1).matched in (L1, R2)


def test_four_cameras_of_one_place_have_at_most_one_track_each_in_a_group() -> None:
    names = ("left-visible", "right-visible", "left-infrared", "right-infrared")
    scene = Scene(cameras=tuple(camera(name) for name in names))
    keys = {name: [TrackKey(name, number) for number in (1, 2, 3)] for name in names}
    looks = {1: A, 2: A, 3: B}  # the first two look the same
    scene.step(0.0, {key: looks[key.track] for tracks in keys.values() for key in tracks})
    groups: dict[int | None, list[TrackKey]] = {}
    for tracks in keys.values():
        for key in tracks:
            groups.setdefault(scene.ids(key)[0], []).append(key)
    assert len(groups) == 3
    assert all(sorted(key.camera for key in group) == sorted(names) for group in groups.values())


def test_two_visible_cameras_alone_ask_for_a_return_in_the_same_modality() -> None:
    pair = (camera("left-visible"), camera("right-visible"))
    for degrees, together in ((30, True), (45, False)):  # cosines 0.87 and 0.71, thresholds 0.6 and 0.8
        scene = Scene(cameras=pair)
        scene.step(0.0, {L1: A, R1: at(degrees)})
        assert (scene.ids(L1) == scene.ids(R1)) is together


def test_one_chance_resemblance_does_not_chain_two_people() -> None:
    """Left and right are at 90 degrees; the infrared track is at 45 from both: 0.71, over 0.6 on either side."""
    scene = Scene(cameras=TRIO)
    scene.step(0.0, {L1: at(0), R1: at(90), I1: at(45)})
    # Joined with one, the other's mean excess is ((0 - 0.8) + (0.71 - 0.6)) / 2 < 0.
    assert scene.ids(L1) != scene.ids(R1)
    assert scene.ids(I1)[0] in (scene.ids(L1)[0], scene.ids(R1)[0])


def test_the_third_camera_joins_by_the_mean_of_its_links() -> None:
    """Left and right agree (10 degrees); the infrared track reaches one by 0.08 and misses the other by 0.04."""
    scene = Scene(cameras=TRIO)
    scene.step(0.0, {L1: at(0), R1: at(10), I1: at(56)})
    assert len(set(scene.ids(L1, R1, I1))) == 1


def test_unmeasured_directions_say_nothing_for_or_against_a_group() -> None:
    scene = Scene(cameras=TRIO, thresholds=Thresholds(fixed={"together": 0.6}))
    scene.step(0.0, {L1: A, R1: B, I1: A})
    assert scene.ids(L1) == scene.ids(I1)
    assert scene.ids(R1) != scene.ids(I1)


def test_linkage_of_sets() -> None:
    nan, inf = np.nan, np.inf
    value = [[nan, 0.2, -0.1, nan], [0.2, nan, nan, -inf], [-0.1, nan, nan, nan], [nan, -inf, nan, nan]]
    assert linkage(value, [0], [1]) == pytest.approx(0.2)
    assert linkage(value, [0], [1, 2]) == pytest.approx(0.05)
    assert linkage(value, [0], [3]) == -inf  # nothing is known
    assert linkage(value, [0, 1], [2, 3]) == -inf  # two of them cannot be one person


def test_people_at_two_places_at_once_are_two_however_alike() -> None:
    scene = Scene(cameras=TWO_PLACES)
    scene.step(0.0, {DV1: A, YV1: A, DI1: A, YI1: A})
    assert scene.ids(DV1, DI1) == [1, 1]
    assert scene.ids(YV1, YI1) == [2, 2]
    scene.step(5.0, {DV1: A, YV1: A})
    assert scene.ids(DV1, YV1) == [1, 2]


def test_somebody_who_walks_to_another_place_keeps_the_number() -> None:
    scene = Scene(cameras=TWO_PLACES)
    scene.step(0.0, {DV1: A})
    scene.step(4.0, {YI1: A})  # the tracker still remembers DV1
    assert scene.ids(YI1) == [1]
    scene.end(DV1)
    scene.step(4.1, {YV1: A, YI1: None})
    assert scene.ids(YI1, YV1) == [1, 1]
    assert scene.changes == []


def test_a_track_that_comes_back_after_its_identity_was_seen_elsewhere_is_parted_on_record() -> None:
    scene = Scene(cameras=TWO_PLACES)
    scene.step(0.0, {DV1: A})
    scene.step(2.0, {YV1: A})
    assert scene.ids(DV1, YV1) == [1, 1]
    scene.end(YV1)
    scene.step(3.0, {})
    changes = scene.step(4.0, {DV1: None})  # was at the door all the time
    assert changes == [Split(time_s=4.0, track=DV1, before=1, after=2)]


@pytest.mark.parametrize(
    ("gap_s", "known"),
    [(1.0, False), (4.8, False), (4.95, True), (30.0, True), (60.05, True), (60.2, False), (500.0, False)],
)
def test_the_way_between_two_places_takes_its_time(gap_s: float, known: bool) -> None:
    """5 to 60 s; the clocks of the two cameras may differ by 0.1 s."""
    scene = Scene(cameras=TWO_PLACES, transits=(Transit(places=("door", "yard"), least_s=5.0, most_s=60.0),))
    scene.step(0.0, {DV1: A})
    scene.end(DV1)
    scene.step(gap_s, {YI1: A})
    assert scene.ids(YI1) == [1 if known else 2]


def test_to_and_fro_is_measured_from_the_last_place() -> None:
    scene = Scene(cameras=TWO_PLACES, transits=(Transit(places=("yard", "door"), least_s=5.0, most_s=60.0),))
    for number, (time_s, key) in enumerate([(0.0, DV1), (50.0, YV1), (100.0, DV2), (150.0, YV2)]):
        scene.step(time_s, {key: A})
        assert scene.ids(key) == [1], number
        scene.end(key)


def test_places_without_a_transit_only_forbid_being_in_both_at_once() -> None:
    scene = Scene(cameras=TWO_PLACES)
    scene.step(0.0, {DV1: A})
    scene.end(DV1)
    scene.step(0.2, {YV1: A})
    assert scene.ids(YV1) == [1]


def test_a_stay_that_may_still_be_taken_back_explains_no_long_way() -> None:
    cameras = (*TWO_PLACES, camera("lane-visible", ""))
    scene = Scene(cameras=cameras, transits=(Transit(places=("door", "yard"), most_s=60.0),))
    lane = TrackKey("lane-visible", 1)
    scene.step(0.0, {DV1: A})
    scene.end(DV1)
    scene.step(50.0, {lane: A})
    scene.step(100.0, {YV1: A})
    assert scene.ids(lane, YV1) == [1, 2]
    scene.end(lane)
    scene.step(100.1, {YV1: None})
    assert scene.ids(YV1) == [1]  # now that it is certain who was in the lane in between


class Boxes:
    """An alignment that compares left edges: 1 on the same spot, -1 from 50 px on."""

    def __init__(self) -> None:
        self.asked = 0

    def agreement(self, visible_box_4: np.ndarray, infrared_box_4: np.ndarray) -> float:
        self.asked += 1
        return max(-1.0, 1.0 - abs(float(visible_box_4[0] - infrared_box_4[0])) / 25.0)


def box(left: float) -> np.ndarray:
    return np.array([left, 20.0, 30.0, 80.0], np.float32)


V1, V2 = TrackKey("visible", 1), TrackKey("visible", 2)


def aligned(**more: object) -> Scene:
    boxes = Boxes()
    return Scene(alignment=lambda visible, infrared: boxes, **more)  # type: ignore[arg-type]


def test_people_who_stand_elsewhere_are_not_paired_however_alike() -> None:
    scene = aligned()
    scene.step(0.0, {V1: A, I1: A}, {V1: box(10), I1: box(200)})
    assert scene.matcher.decision(V1).matched is None
    assert scene.matcher.decision(V1).similarity == pytest.approx(1.0)
    assert scene.ids(V1)[0] != scene.ids(I1)[0]


def test_of_two_who_look_alike_the_one_on_the_spot_is_the_partner() -> None:
    places = {V1: box(100), I1: box(120), I2: box(100)}
    looks = {V1: A, I1: at(30), I2: at(32)}  # 0.866 and 0.848
    plain, scene = Scene(), aligned()
    for time_s in (0.0, 1.0, 2.0):
        plain.step(time_s, looks, places)
        scene.step(time_s, looks, places)
    assert plain.matcher.decision(V1).matched == I1
    assert scene.matcher.decision(V1).matched == I2


def test_one_bad_box_of_a_standing_pair_forbids_nothing() -> None:
    scene = aligned()
    for time_s in range(4):
        scene.step(float(time_s), {V1: A, I1: A}, {V1: box(100), I1: box(100)})
    changes = scene.step(4.0, {V1: None, I1: None}, {V1: box(100), I1: box(160)})
    assert changes == []
    for time_s in range(5, 12):
        changes += scene.step(float(time_s), {V1: None, I1: None}, {V1: box(100), I1: box(160)})
    assert [type(change) for change in changes] == [Split]  # but standing elsewhere for good does


def test_the_same_spot_lowers_the_threshold_by_what_a_tenth_of_the_people_would() -> None:
    """The cosine asked for grows by 0.04 per tenfold people: the spot may make up for that much and no more."""

    class Curve:
        def least(self, direction: str, people: int) -> float:
            return (0.6 if direction == "together" else 2.0) + 0.04 * float(np.log10(people))

    places = {V1: box(100), I1: box(100)}
    # After 8 looks the confidence is 8 / 10 and the position's weight 0.08: the curve's 0.04 is the limit.
    for cosine, paired in ((0.57, True), (0.55, False)):
        scene = aligned(thresholds=Curve())
        degrees = float(np.degrees(np.arccos(cosine)))
        for time_s in range(9):
            scene.step(float(time_s), {V1: A, I1: at(degrees)}, places)
        assert (scene.ids(V1) == scene.ids(I1)) is paired
    scene = Scene(thresholds=Curve())  # type: ignore[arg-type]
    scene.step(0.0, {V1: A, I1: at(55.2)}, places)  # 0.571 without positions
    assert scene.ids(V1) != scene.ids(I1)


def test_a_fixed_threshold_is_not_lowered_by_the_spot() -> None:
    scene = aligned()
    for time_s in range(9):
        scene.step(float(time_s), {V1: A, I1: at(54)}, {V1: box(100), I1: box(100)})  # 0.588 against 0.6
    assert scene.ids(V1) != scene.ids(I1)


def test_positions_are_compared_at_one_time_and_not_too_often() -> None:
    boxes = Boxes()
    scene = Scene(alignment=lambda visible, infrared: boxes)
    scene.step(0.0, {V1: A}, {V1: box(10)})
    scene.step(0.5, {I1: A}, {I1: box(200)})  # V1 was there half a second ago: nothing can be said
    assert boxes.asked == 0
    for tick in range(1, 101):
        scene.step(0.5 + tick / 50, {V1: None, I1: None}, {V1: box(10), I1: box(10)})
    assert boxes.asked == 10  # 2 s, five times a second


def test_a_pair_of_cameras_without_an_alignment_is_judged_by_looks() -> None:
    scene = Scene(alignment=lambda visible, infrared: None)
    scene.step(0.0, {V1: A, I1: A}, {V1: box(10), I1: box(200)})
    assert scene.ids(V1) == scene.ids(I1)


def test_three_people_of_whom_one_camera_lost_one() -> None:
    scene = Scene(cameras=TRIO, thresholds=thresholds(0.6, same=0.7))
    scene.step(0.0, {L1: A, R1: A, I1: A, L2: B, R2: B, I2: B, L3: C, I3: C})
    names = scene.ids(L1, L2, L3)
    assert len(set(names)) == 3
    scene.step(1.0, {L1: None, I1: None, L2: None, R2: None, I2: None, L3: None, I3: None, R3: C})
    assert scene.ids(R3)[0] == scene.ids(L3)[0]
    assert scene.changes == []
