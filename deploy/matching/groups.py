"""Which live tracks of one ground are one person: groups with one track per camera at a time.

For two cameras these are pairs: mutual nearest neighbours first, then the assignment with the greatest sum
(`assignment.pair_tracks`). More cameras are paired two by two in the same way, and the pairs are joined from the
strongest down, as long as everybody in the group can be one person and the links between the two sides, on average,
reach their threshold. So a group is consistent by construction, no camera comes first, and one chance resemblance
cannot chain two people together. Tracks that stayed alone are then assigned to the groups that formed: this is how
somebody whom the tracker lost and found again under a new number joins the partner of the old one.

A link counts while two tracks of different cameras overlap in time. Those of two modalities are measured against the
threshold "together"; two cameras of one modality against that of a return in this modality, which was measured with
the largest of several cosines and so asks a little more of the two means that are compared here.

Shapes: T tracks, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from math import inf, isnan
from typing import TYPE_CHECKING

import numpy as np

from deploy.matching.position import LESS_LIKELY, POSITION_WEIGHT
from deploy.thresholds.thresholds import direction_of
from deploy.tracking.assignment import pair_tracks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from deploy.matching.live_tracks import LiveTrack
    from deploy.matching.position import Positions
    from deploy.sightings import TrackKey
    from deploy.thresholds.thresholds import Direction

    Float = NDArray[np.float32]
    Group = list[LiveTrack]
    Table = list[list[float]]

Least = Callable[["Direction", int], float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Links:
    """What speaks for every two tracks. NaN: nothing is known; -inf: they cannot be one person.

    `excess_TT` is the cosine above its threshold, position counted; a standing pair's bonus is only in `support_TT`,
    which allows a link from 0 on, and in `preferred_TT`, which says who is taken first.
    """

    tracks: Sequence[LiveTrack]
    similarity_TT: Float
    excess_TT: Float
    support_TT: Float
    preferred_TT: Float

    def excess(self, some: Iterable[LiveTrack], others: Iterable[LiveTrack]) -> float:
        """Return the mean excess between two sets of tracks; -inf where they are not linked."""
        row = {track.key: index for index, track in enumerate(self.tracks)}
        return linkage(self.excess_TT.tolist(), [row[t.key] for t in some], [row[t.key] for t in others])


def link(
    tracks: Sequence[LiveTrack],
    least: Least,
    positions: Positions,
    standing: Mapping[TrackKey, int],
    hysteresis: float,
) -> Links:
    """Compare the live tracks of one ground; standing: the number of each one's group so far."""
    mean_TD = np.stack([track.evidence.mean_D for track in tracks])
    cosine_TT = mean_TD @ mean_TD.T
    similarity_TT, excess_TT, linked_TT = _meet(tracks, cosine_TT, positions)
    support_TT, preferred_TT = excess_TT.copy(), excess_TT.copy()
    rivals = _count_rivals(tracks, linked_TT)
    for a, b in np.argwhere(np.triu(linked_TT)).tolist():
        people = max(rivals[a][tracks[b].key.camera], rivals[b][tracks[a].key.camera])
        direction = _direction(tracks[a], tracks[b])
        lowest = least(direction, people)
        if not np.isfinite(lowest):
            continue  # never measured: the two may be anybody
        weight, relief = POSITION_WEIGHT * positions.confidence(tracks[a], tracks[b]), 0.0
        if weight:
            relief = min(weight, max(least(direction, LESS_LIKELY * people) - lowest, 0.0))
        group = standing.get(tracks[a].key)
        bonus = hysteresis if group is not None and group == standing.get(tracks[b].key) else 0.0
        excess = float(cosine_TT[a, b]) - lowest + relief
        excess_TT[a, b] = excess_TT[b, a] = excess
        support_TT[a, b] = support_TT[b, a] = excess + bonus
        preferred_TT[a, b] = preferred_TT[b, a] = excess + bonus + weight - relief
    return Links(
        tracks=tracks,
        similarity_TT=similarity_TT,
        excess_TT=excess_TT,
        support_TT=support_TT,
        preferred_TT=preferred_TT,
    )


def partition(links: Links) -> list[Group]:
    """Put the tracks into groups, each in the order of the tracks; the groups too."""
    rows: dict[str, list[int]] = {}
    for index, track in enumerate(links.tracks):
        rows.setdefault(track.key.camera, []).append(index)
    group_of = {index: [index] for index in range(len(links.tracks))}
    # Lists: a look at a few entries of an array takes ten times as long.
    support_TT: Table = links.support_TT.tolist()
    preferred_TT: Table = links.preferred_TT.tolist()
    for a, b in _pairs(links, rows):
        _join(group_of, group_of[a], group_of[b], support_TT)
    # Every round joins two groups at least.
    while _assign_singles(support_TT, preferred_TT, rows, group_of):
        pass
    groups = {id(group): sorted(group) for group in group_of.values()}
    return [[links.tracks[index] for index in group] for group in sorted(groups.values())]


def linkage(value_TT: Table, some: Iterable[int], others: Sequence[int]) -> float:
    """Return the mean of what is known between two sets; -inf where nothing is, or where any two are impossible."""
    total, count = 0.0, 0
    for a in some:
        row_T = value_TT[a]
        for b in others:
            value = row_T[b]
            if not isnan(value):
                total, count = total + value, count + 1
    return total / count if count else -inf


def note_matches(groups: Sequence[Group], links: Links, live: Mapping[TrackKey, LiveTrack]) -> None:
    """Write into each track the best of its group, and the best cosine with anybody at all.

    A track of the other modality comes first. A single forgets a match that lives on without it; one that has ended
    stays its match.
    """
    row = {track.key: index for index, track in enumerate(links.tracks)}
    for group in groups:
        for track in group:
            everybody = _best_partner(track, links.tracks, links, row)
            partner = _best_partner(track, group, links, row)
            best = everybody if partner is None else partner
            if best is not None:
                track.similarity = float(links.similarity_TT[row[track.key], row[best.key]])
            if partner is not None:
                track.matched = partner.key
            elif track.matched in live:
                track.matched = None


def _best_partner(
    track: LiveTrack, others: Iterable[LiveTrack], links: Links, row: Mapping[TrackKey, int]
) -> LiveTrack | None:
    cosine_T = links.similarity_TT[row[track.key]]
    known = [other for other in others if not np.isnan(cosine_T[row[other.key]])]
    return max(known, key=lambda t: (t.modality != track.modality, cosine_T[row[t.key]]), default=None)


def _meet(
    tracks: Sequence[LiveTrack], cosine_TT: Float, positions: Positions
) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return the cosines of tracks that met (NaN: never), what is impossible (-inf, else NaN), and who may be one."""
    count = len(tracks)
    similarity_TT = np.full((count, count), np.nan, np.float32)
    excess_TT = similarity_TT.copy()
    linked_TT = np.zeros((count, count), bool)
    for a, b in combinations(range(count), 2):
        if not tracks[a].overlaps(tracks[b]):
            continue
        apart = tracks[a].key.camera != tracks[b].key.camera
        if apart:
            similarity_TT[a, b] = similarity_TT[b, a] = cosine_TT[a, b]
        if apart and not positions.impossible(tracks[a], tracks[b]):
            linked_TT[a, b] = linked_TT[b, a] = True
        else:
            excess_TT[a, b] = excess_TT[b, a] = -np.inf
    return similarity_TT, excess_TT, linked_TT


def _count_rivals(tracks: Sequence[LiveTrack], linked_TT: NDArray[np.bool_]) -> list[dict[str, int]]:
    """Return per track how many tracks of each camera it could be: who is searched among."""
    rivals: list[dict[str, int]] = []
    for row_T in linked_TT:
        count: dict[str, int] = {}
        for index in np.flatnonzero(row_T).tolist():
            camera = tracks[index].key.camera
            count[camera] = count.get(camera, 0) + 1
        rivals.append(count)
    return rivals


def _direction(a: LiveTrack, b: LiveTrack) -> Direction:
    return "together" if a.modality != b.modality else direction_of(a.modality, b.modality)


def _pairs(links: Links, rows: Mapping[str, list[int]]) -> list[tuple[int, int]]:
    """Pair every two cameras and return the pairs, the strongest first."""
    found: list[tuple[float, int, int]] = []
    for one, other in combinations(sorted(rows), 2):
        index = np.ix_(rows[one], rows[other])
        allowed = links.support_TT[index] >= 0  # NaN is not
        for a, b in pair_tracks(np.where(allowed, links.preferred_TT[index], -np.inf), 0.0):
            found.append((-float(links.preferred_TT[index][a, b]), rows[one][a], rows[other][b]))
    return [(a, b) for _, a, b in sorted(found)]


def _assign_singles(
    support_TT: Table, preferred_TT: Table, rows: Mapping[str, list[int]], group_of: dict[int, list[int]]
) -> bool:
    """Assign the tracks of each camera that are alone to groups of others; True where some joined."""
    joined = False
    for camera in sorted(rows):
        singles = [index for index in rows[camera] if len(group_of[index]) == 1]
        groups = [group for _, group in sorted({min(group): group for group in group_of.values()}.items())]
        preferred = np.full((len(singles), len(groups)), -np.inf, np.float32)
        for row, index in enumerate(singles):
            for column, group in enumerate(groups):
                if group != [index] and linkage(support_TT, [index], group) >= 0:
                    preferred[row, column] = linkage(preferred_TT, [index], group)
        for row, column in pair_tracks(preferred, 0.0):
            joined = _join(group_of, group_of[singles[row]], groups[column], support_TT) or joined
    return joined


def _join(group_of: dict[int, list[int]], one: list[int], other: list[int], support_TT: Table) -> bool:
    """Make one group of two where the links between them allow it."""
    if one is other or linkage(support_TT, one, other) < 0:
        return False
    union = one + other
    for index in union:
        group_of[index] = union
    return True
