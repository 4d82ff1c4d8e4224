"""A synthetic site: up to four cameras at two places, and the plan of who walks through which place when.

At the door a visible and an infrared camera hang side by side; in the yard they face each other over the same ground.
Residents come back, to the same place and to the other one after the way between; strangers come once. People pass,
meet and overtake each other, and one camera is lost for a while.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from engines.errors import BadInput
from train.datasets.synthetic_camera import CAMERAS
from train.datasets.synthetic_stream_view import View, Walk
from train.datasets.synthetic_streams import EMPTY_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.manifest import Modality
    from train.datasets.synthetic_material import InfraredKind

FIRST_IDENTITY = 2001  # behind every data set of the default size, and behind the up to 1000 people of the streams
AGAIN_S = 6.0  # nobody comes back to the same place sooner
TRANSIT_S = 10.0  # nor to the other place: from outside one view to outside the other
CLOSING_S = 1.5  # nobody at the end
LOSS = (0.45, 0.62)  # of the time: when the last camera is lost


@dataclass(frozen=True, kw_only=True)
class SiteShape:
    """Who comes, and what watches. Thermal cameras have half the width and height, as real ones have fewer pixels."""

    cameras: int = 4
    identities: int = 20
    unknowns: int = 4  # strangers, in addition
    minutes: float = 3.0
    infrared: InfraredKind = "nir"
    width_px: int = 640
    height_px: int = 360
    fps: int = 10

    def __post_init__(self) -> None:
        if not 2 <= self.cameras <= 4:
            raise BadInput(f"expected 2 to 4 cameras, got {self.cameras}")
        if not (1 <= self.identities <= 1000 and 0 <= self.unknowns <= 1000):
            raise BadInput(
                f"expected 1 to 1000 identities and up to 1000 unknowns, got {self.identities} and {self.unknowns}"
            )
        if not 0.5 <= self.minutes <= 600:
            raise BadInput(f"expected 0.5 to 600 minutes, got {self.minutes:g}")

    @property
    def frames(self) -> int:
        return round(self.minutes * 60 * self.fps)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


@dataclass(frozen=True, kw_only=True)
class SiteCamera:
    """One camera of the site; lost_frames is when it gives nothing, first and behind the last."""

    name: str
    modality: Modality
    place: str
    view: View
    lost_frames: tuple[int, int] | None = None


CAMERA_TABLE: tuple[SiteCamera, ...] = (
    SiteCamera(
        name="door-rgb", modality="visible", place="door",
        view=View(camera=CAMERAS[2], kind="room", opposite=False, shift=0.0, near_px=0.955, far_px=0.70, horizon=-0.16,
                  stature=0.48),
    ),
    SiteCamera(
        name="door-ir", modality="infrared", place="door",
        view=View(camera=CAMERAS[3], kind="room", opposite=False, shift=0.05, near_px=0.965, far_px=0.72,
                  horizon=-0.18, stature=0.47),
    ),
    SiteCamera(
        name="yard-rgb", modality="visible", place="yard",
        view=View(camera=CAMERAS[5], kind="yard", opposite=False, shift=0.0, near_px=0.96, far_px=0.71, horizon=-0.18,
                  stature=0.46),
    ),
    SiteCamera(
        name="yard-ir", modality="infrared", place="yard",
        view=View(camera=CAMERAS[6], kind="passage", opposite=True, shift=0.10, near_px=0.97, far_px=0.75,
                  horizon=-0.22, stature=0.44),
    ),
)  # fmt: skip
# Three cameras: the yard has its infrared one only, so that people are found again in the other modality.
CHOICES = {2: (0, 1), 3: (0, 1, 3), 4: (0, 1, 2, 3)}


class Part(NamedTuple):
    """One person's part in an encounter."""

    delay_s: float
    direction: int
    across: float
    duration_s: float = 7.2
    pause_s: float = 0.0


ENCOUNTERS: dict[str, tuple[Part, ...]] = {
    "alone": (Part(0.0, 1, 0.5),),
    "crossing": (Part(0.0, 1, 0.28), Part(0.8, -1, 0.76)),
    "one more alone": (Part(0.0, -1, 0.35),),
    "meeting": (Part(0.0, 1, 0.42, 8.8, 1.6), Part(0.0, -1, 0.58, 8.8, 1.6)),
    "overtaking": (Part(0.0, 1, 0.30, 8.4), Part(1.3, 1, 0.72, 6.4)),
    "three": (Part(0.0, 1, 0.20), Part(0.9, -1, 0.82), Part(2.0, 1, 0.55)),
}


@dataclass(frozen=True, kw_only=True)
class Visit:
    """Somebody walks through a place."""

    place: str
    walk: Walk


@dataclass(frozen=True, kw_only=True)
class SitePlan:
    """Everything that is decided before a picture is drawn."""

    shape: SiteShape
    seed: int
    cameras: tuple[SiteCamera, ...]
    visits: tuple[Visit, ...]  # in order of their start

    @property
    def unknowns(self) -> tuple[int, ...]:
        first = FIRST_IDENTITY + self.shape.identities
        return tuple(range(first, first + self.shape.unknowns))

    def walks(self, place: str) -> list[Walk]:
        return [visit.walk for visit in self.visits if visit.place == place]


def plan_site(shape: SiteShape, seed: int) -> SitePlan:
    """Choose the cameras and seat everyone; BadInput where the time does not do for two visits of every resident."""
    cameras = [CAMERA_TABLE[number] for number in CHOICES[shape.cameras]]
    lost = (round(shape.frames * LOSS[0]), round(shape.frames * LOSS[1]))
    cameras[-1] = dataclasses.replace(cameras[-1], lost_frames=lost)
    places = list(dict.fromkeys(camera.place for camera in cameras))
    seats = [seat for number, place in enumerate(places) for seat in _seats(shape, seed, place, number)]
    seats = [seat for seat in seats if _watched(seat, cameras, shape.fps)]
    seats.sort(key=lambda seat: (seat.walk.start_s, seat.place))
    strangers = _strangers_seats(shape, cameras, seats)
    visits = _fill(shape, seed, seats, strangers)
    counts: defaultdict[int, int] = defaultdict(int)
    for visit in visits:
        counts[visit.walk.identity] += 1
    rare = sum(counts[FIRST_IDENTITY + number] < 2 for number in range(shape.identities))
    if rare or len(strangers) < shape.unknowns:
        raise BadInput(
            f"expected time for two visits of each of {shape.identities} identities and one of each of "
            f"{shape.unknowns} unknowns, got {shape.minutes:g} minutes with {len(seats)} visits; ask for more minutes "
            "or fewer people"
        )
    return SitePlan(shape=shape, seed=seed, cameras=tuple(cameras), visits=tuple(visits))


def _seats(shape: SiteShape, seed: int, place: str, number: int) -> list[Visit]:
    """Lay out the encounters of one place, with nobody's identity in them yet."""
    rng = np.random.default_rng((seed, 9, number))
    kinds = tuple(ENCOUNTERS.values())
    seats: list[Visit] = []
    start_s, turn = EMPTY_S + 3.0 * number, 2 * number
    while True:
        mirror = 1 if rng.random() < 0.5 else -1
        walks = [
            Walk(identity=0, start_s=start_s + part.delay_s, duration_s=part.duration_s * rng.uniform(0.96, 1.04),
                 direction=part.direction * mirror, across=part.across + rng.uniform(-0.06, 0.06),
                 drift=rng.uniform(-0.1, 0.1), pause_s=part.pause_s)
            for part in kinds[turn % len(kinds)]
        ]  # fmt: skip
        end_s = max(walk.end_s for walk in walks)
        if end_s > shape.seconds - CLOSING_S:
            return seats
        seats += [Visit(place=place, walk=walk) for walk in walks]
        start_s = end_s + rng.uniform(-1.5, 1.5)  # some come while the last ones go
        turn += 1


def _watched(seat: Visit, cameras: Sequence[SiteCamera], fps: int) -> bool:
    return any(camera.place == seat.place and not _blind(camera, seat.walk, fps) for camera in cameras)


def _blind(camera: SiteCamera, walk: Walk, fps: int) -> bool:
    """Tell whether the camera is lost for the whole walk."""
    lost = camera.lost_frames
    return lost is not None and lost[0] <= walk.start_s * fps and walk.end_s * fps <= lost[1]


def _strangers_seats(shape: SiteShape, cameras: Sequence[SiteCamera], seats: Sequence[Visit]) -> set[int]:
    """Choose the strangers' seats, far apart; the first stranger is seen by one camera only."""
    if not seats or not shape.unknowns:
        return set()
    watching = [sum(c.place == seat.place and not _blind(c, seat.walk, shape.fps) for c in cameras) for seat in seats]
    once = [number for number, count in enumerate(watching) if count == 1]
    chosen = {once[len(once) // 2]} if once else set[int]()
    others = [number for number in range(len(seats)) if number not in chosen]
    wanted = min(shape.unknowns - len(chosen), len(others))
    return chosen | {others[int((turn + 0.5) * len(others) / wanted)] for turn in range(wanted)}


def _fill(shape: SiteShape, seed: int, seats: Sequence[Visit], strangers: set[int]) -> list[Visit]:
    """Give every seat to whoever came least often to that place, if there was time to get there."""
    rank = np.random.default_rng((seed, 10)).permutation(shape.identities).tolist()
    left: dict[int, Visit] = {}  # the latest visit of each resident
    counts: defaultdict[tuple[int, str], int] = defaultdict(int)
    visits: list[Visit] = []
    stranger = FIRST_IDENTITY + shape.identities
    for number, seat in enumerate(seats):
        if number in strangers:
            visits.append(_seated(seat, stranger))
            stranger += 1
            continue
        free = [person for person in range(shape.identities) if _can_come(left.get(person), seat)]
        if not free:
            continue
        person = min(free, key=lambda person: (counts[person, seat.place], counts[person, ""], rank[person]))
        counts[person, seat.place] += 1
        counts[person, ""] += 1
        left[person] = _seated(seat, FIRST_IDENTITY + person)
        visits.append(left[person])
    return visits


def _can_come(last: Visit | None, seat: Visit) -> bool:
    if last is None:
        return True
    gap_s = seat.walk.start_s - last.walk.end_s
    return gap_s >= (AGAIN_S if last.place == seat.place else TRANSIT_S)


def _seated(seat: Visit, identity: int) -> Visit:
    return dataclasses.replace(seat, walk=dataclasses.replace(seat.walk, identity=identity))
