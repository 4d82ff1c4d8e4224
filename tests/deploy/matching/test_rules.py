"""What one person cannot do."""

from __future__ import annotations

import pytest

from deploy.matching.rules import SiteRules, Stay
from deploy.settings.site_plan import CameraSite, Transit
from engines.errors import BadInput


def camera(name: str, place: str = "", tolerance_s: float = 0.05) -> CameraSite:
    return CameraSite(name=name, uri="0", modality="visible", place=place, tolerance_s=tolerance_s)


CAMERAS = (
    camera("door", "entrance"),
    camera("door-ir", "entrance"),
    camera("yard", "yard", tolerance_s=0.2),
    camera("lane"),
    camera("roof"),
)
RULES = SiteRules(
    CAMERAS,
    (Transit(places=("yard", "entrance"), least_s=5.0, most_s=60.0), Transit(places=("lane", "yard"), least_s=3.0)),
)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("door", 0, 10), ("door", 11, 20), True),
        (("door", 0, 10), ("door", 10, 20), False),  # both in the picture of second 10
        (("door", 0, 10), ("door", 5, 20), False),
        (("door", 0, 10), ("door", 4, 5), False),
        (("door", 0, 10), ("door-ir", 0, 10), True),  # the same ground
        (("door", 0, 10), ("door-ir", 500, 600), True),
        (("door", 0, 10), ("lane", 10.5, 20), True),  # nothing is known of the way but that it is not at once
        (("door", 0, 10), ("lane", 9.95, 20), True),  # within the clocks' tolerances, 0.05 + 0.05
        (("door", 0, 10), ("lane", 9.85, 20), False),
        (("door", 0, 10), ("lane", 4, 4), False),  # at the door before and after
        (("door", 0, 10), ("lane", 0, 20), False),
        (("lane", 0, 10), ("roof", 5, 6), False),  # two cameras alone are two places
        (("door", 0, 10), ("yard", 15, 20), True),
        (("door", 0, 10), ("yard", 14.76, 20), True),  # 0.05 + 0.2
        (("door", 0, 10), ("yard", 14.7, 20), False),
        (("door", 0, 10), ("yard", 70, 80), True),
        (("door", 0, 10), ("yard", 70.24, 80), True),
        (("door", 0, 10), ("yard", 70.3, 80), False),
        (("door-ir", 0, 10), ("yard", 12, 20), False),  # of the place, not of the camera
        (("lane", 0, 10), ("yard", 12, 20), False),  # a camera alone is named like a place
        (("lane", 0, 10), ("yard", 14, 20), True),
        (("lane", 0, 10), ("yard", 5000, 6000), True),  # no most_s
        (("picture", 0, 10), ("yard", 5, 6), True),  # not of this site
        (("picture", 0, 10), ("picture", 5, 6), False),
    ],
)
def test_possible(first: tuple[str, float, float], second: tuple[str, float, float], expected: bool) -> None:
    a, b = Stay(*first), Stay(*second)
    assert RULES.possible(a, b) is expected
    assert RULES.possible(b, a) is expected


def test_the_longest_way_is_not_asked_of_stays_with_others_between() -> None:
    late = Stay("yard", 100, 110)
    assert not RULES.possible(Stay("door", 0, 10), late)
    assert RULES.possible(Stay("door", 0, 10), late, direct=False)
    assert not RULES.possible(Stay("door", 0, 10), Stay("yard", 12, 13), direct=False)  # too fast is too fast


@pytest.mark.parametrize(
    ("past", "expected"),
    [
        ([("door", 0, 10)], False),  # 90 s to the yard
        ([("door", 0, 10), ("yard", 40, 45)], True),  # was in the yard since, and comes again
        ([("door", 0, 10), ("lane", 50, 60)], True),
        ([("door", 0, 10), ("door-ir", 80, 90)], True),
        ([("door", 0, 10), ("door-ir", 5, 12)], False),  # 88 s since the last of the two
        ([("door", 0, 10), ("roof", 200, 210)], False),  # afterwards is not between
    ],
)
def test_compatible_looks_at_the_whole_past(past: list[tuple[str, float, float]], expected: bool) -> None:
    late, known = Stay("yard", 100, 110), [Stay(*stay) for stay in past]
    assert RULES.compatible([late], known) is expected
    assert RULES.compatible(known, [late]) is expected


def test_only_what_is_settled_lies_between() -> None:
    past, late = [Stay("door", 0, 10), Stay("lane", 50, 60)], Stay("yard", 100, 110)
    assert not RULES.compatible([late], past, settled=past[:1])


def test_ground() -> None:
    assert RULES.ground("door") == RULES.ground("door-ir") == "entrance"
    assert len({RULES.ground(camera) for camera in ("door", "yard", "lane", "roof")}) == 4
    assert RULES.ground("picture") is None


def test_a_transit_of_an_unknown_place_is_refused() -> None:
    with pytest.raises(BadInput, match=r"expected places or cameras out of door, door-ir, .*got 'gate'"):
        SiteRules(CAMERAS, (Transit(places=("yard", "gate")),))


def test_a_transit_within_one_ground_is_refused() -> None:
    with pytest.raises(BadInput, match="door - door-ir: expected two places, got one ground twice"):
        SiteRules(CAMERAS, (Transit(places=("door", "door-ir")),))


def test_two_transits_of_one_way_are_refused() -> None:
    ways = (Transit(places=("yard", "lane")), Transit(places=("lane", "yard"), least_s=4))
    with pytest.raises(BadInput, match="lane - yard: expected each way once"):
        SiteRules(CAMERAS, ways)
