"""The comparisons that the cameras make, and what tracks of known people give in each.

Shapes: T tracks, D embedding, R rows of a track (its mean and prototypes), N pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from calib.impostors import impostor_tail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from calib.impostors import Tail
    from engines.manifest import Modality

    Flags = NDArray[np.bool_]

# together: the means of two tracks of the two modalities that are in the picture now. The others: the mean of a track
# of the first modality against the mean and the prototypes of a stored track of the second, the largest counts.
Direction = Literal["together", "visible->infrared", "infrared->visible", "visible->visible", "infrared->infrared"]
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)
QUANTILES = 41


@dataclass(frozen=True, kw_only=True, eq=False)
class Track:
    """One track of somebody: the same mean and prototypes as the cameras make."""

    person: int
    camera: str
    modality: Modality
    mean_D: NDArray[np.float32]
    prototype_PD: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured in one direction.

    Two pictures of one camera resemble each other whoever is in them, so in one modality pairs in one camera are not
    mixed with pairs of two: their tail is the first. A threshold must keep the promise for each tail, and is supported
    where the first is.
    """

    tails: tuple[Tail, ...]  # of different people
    genuine: tuple[float, ...] = ()  # evenly spaced quantiles of the similarities of tracks of one person
    genuine_pairs: int = 0

    def least(self, rate: float) -> float:
        return max(tail.least(rate) for tail in self.tails)

    def supported(self, rate: float) -> bool:
        return self.tails[0].supported(rate)

    @property
    def least_rate(self) -> float:
        """The lowest rate that can be promised."""
        return self.tails[0].least_rate

    def true_match_rate(self, cosine: float) -> float | None:
        """Return the share of pairs of one person that reach cosine; None where there were none."""
        if not self.genuine:
            return None
        place = np.interp(cosine, self.genuine, np.linspace(0, 1, len(self.genuine)), left=0.0, right=1.0)
        return float(1 - place)


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """The scored pairs of a direction; first and second index the tracks, similarity belongs to them."""

    similarity_N: NDArray[np.float64]
    first_N: NDArray[np.int64]
    second_N: NDArray[np.int64]

    def pick(self, chosen_N: Flags) -> Pairs:
        return Pairs(
            similarity_N=self.similarity_N[chosen_N], first_N=self.first_N[chosen_N], second_N=self.second_N[chosen_N]
        )


def score(tracks: Sequence[Track], direction: Direction, wanted_TT: Flags) -> Pairs:
    """Compare the wanted pairs of tracks as the cameras do in a direction, a query in rows, what is stored in columns.

    wanted is symmetric; a track is never compared with itself.
    """
    query, stored = ("visible", "infrared") if direction == "together" else direction.split("->")
    rows = [track for track in tracks if track.modality == query]
    columns = [track for track in tracks if track.modality == stored]
    if not rows or not columns:
        return Pairs(similarity_N=np.empty(0), first_N=np.empty(0, np.int64), second_N=np.empty(0, np.int64))
    mean_TD = np.stack([track.mean_D for track in rows])
    similarity_TT = mean_TD @ np.stack([track.mean_D for track in columns]).T
    if direction != "together":
        for place, track in enumerate(columns):
            nearest_T = (mean_TD @ track.prototype_PD.T).max(1)
            similarity_TT[:, place] = np.maximum(similarity_TT[:, place], nearest_T)
    modality_T = np.array([track.modality for track in tracks])
    row_T, column_T = np.flatnonzero(modality_T == query), np.flatnonzero(modality_T == stored)
    first_N, second_N = np.nonzero(wanted_TT[np.ix_(row_T, column_T)] & (row_T[:, None] != column_T[None, :]))
    similarity_N = similarity_TT[first_N, second_N].astype(np.float64)
    return Pairs(similarity_N=similarity_N, first_N=row_T[first_N], second_N=column_T[second_N])


def measure(tracks: Sequence[Track], direction: Direction, different_TT: Flags, same_TT: Flags) -> Measured | None:
    """Measure a direction on pairs known to be different people and pairs known to be one; None without the former."""
    impostor = score(tracks, direction, different_TT)
    genuine_N = score(tracks, direction, same_TT).similarity_N
    tails = tuple(_tail(tracks, group) for group in _groups(tracks, direction, impostor))
    if not tails:
        return None
    points = np.linspace(0, 1, QUANTILES)
    quantiles = tuple(np.quantile(genuine_N, points).tolist()) if len(genuine_N) else ()
    return Measured(tails=tails, genuine=quantiles, genuine_pairs=len(genuine_N))


def _groups(tracks: Sequence[Track], direction: Direction, pairs: Pairs) -> list[Pairs]:
    """Part the pairs of one modality into those in one camera, which come first, and those of two.

    A site with one camera makes only the former comparisons, one with many mostly the latter. On a trained engine the
    former reached a given rate at 0.01 to 0.03 of cosine more.
    """
    if direction not in ("visible->visible", "infrared->infrared"):
        return [pairs] if len(pairs.similarity_N) else []
    camera_T = np.array([track.camera for track in tracks])
    one_N = camera_T[pairs.first_N] == camera_T[pairs.second_N]
    return [pairs.pick(chosen_N) for chosen_N in (one_N, ~one_N) if chosen_N.any()]


def _tail(tracks: Sequence[Track], pairs: Pairs) -> Tail:
    person_T = np.array([track.person for track in tracks], np.int64)
    return impostor_tail(pairs.similarity_N, person_T[pairs.first_N], person_T[pairs.second_N])
