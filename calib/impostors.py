"""How often different people look alike: the upper end of their similarities, and what it can promise.

A threshold is a promise about the share of pairs of different people that reach it. Pairs are not independent: those
that share a person rise and fall together, and so do the tracks of one pair of people. How many independent pairs the
measured ones are worth follows from the dyadic cluster-robust variance (Fafchamps and Gubert, Journal of Development
Economics 2007; Aronow, Samii and Assenova, Political Analysis 2015). The share is then bounded from above at 95 % as
Clopper and Pearson do; of no pair at all that bound is the rule of three of ISO/IEC 19795-1, and a rate is called
supported where three independent pairs are expected above its threshold.

Measured on two small trained engines (mcja and the baseline, INT8) and 700 rendered people whom training never saw:
calibration on some of them, then searches of 300 others among 5, 20 and 60 people with one tracklet each, 40 draws, all
five directions. Calibrations that broke the promise, the mean rate as a share of the promised one, and (in brackets)
the calibrations that called it supported:

    people measured                 20                    60                    200
     5 searched, 10 %       2 %, 0.36 (83 %)     3 %, 0.66 (100 %)     4 %, 0.78 (100 %)
    20 searched, 10 %       7 %, 0.25 (13 %)     3 %, 0.48 (100 %)     2 %, 0.67 (100 %)
    60 searched, 10 %       6 %, 0.20  (1 %)     1 %, 0.28  (71 %)     0 %, 0.55 (100 %)
     5 searched,  1 %       7 %, 0.24  (2 %)     3 %, 0.33  (78 %)     5 %, 0.64 (100 %)
    20 searched,  1 %       7 %, 0.25  (0 %)     4 %, 0.21  (12 %)     2 %, 0.37 (100 %)
    60 searched,  1 %       7 %, 0.26  (0 %)     4 %, 0.15   (0 %)     0 %, 0.20  (73 %)

In one direction (visible to infrared, 20 people measured) the plain quantile of the pairs, which was here before, broke
50 to 95 of 100 promises and let through up to 8.2 times the promised rate; a generalised Pareto tail fitted by moments
broke 50 to 82 and let through up to 6.4 times.

Shapes: N pairs, L levels.
"""

from __future__ import annotations

import importlib
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Labels = NDArray[np.int64]

CONFIDENCE = 0.95
LEVELS = 64
LEAST_ABOVE = 3  # independent pairs above the last measured cosine, and above a threshold that is called supported
SLOPE_ABOVE = 10  # independent pairs that the slope beyond it is taken from
# The slope's own upper bound; with 0.5 up to 14 of 100 calibrations broke their promise beyond what they had measured,
# with 0.95 up to 3, at half of the true matches.
SLOPE_CONFIDENCE = 0.8
RELIABLE_ABOVE = 30  # pairs from which the dependence can be read (Doddington's rule of 30)


@dataclass(frozen=True, kw_only=True)
class Tail:
    """What share of pairs of different people reaches which cosine, at most, with 95 % confidence."""

    rates: tuple[float, ...]  # falling
    cosines: tuple[float, ...]  # rising; no more than its rate of the pairs reaches a cosine
    slope: float  # beyond the last point: cosine for each factor e in the rate
    pairs: int
    people: int
    effective_pairs: float  # independent ones that they are worth

    def least(self, rate: float) -> float:
        """Return the cosine that no more than rate of the pairs reaches.

        Beyond the measured end the tail is taken to fall exponentially. Similarities are bounded, so theirs falls
        faster and faster, and the cosine is on the safe side.
        """
        if rate >= self.rates[-1]:
            # The measured point at or below the rate, not the line between two: the tail is hollow there.
            return self.cosines[bisect_left(self.rates, -rate, key=lambda value: -value)]
        return min(1.0, self.cosines[-1] + self.slope * float(np.log(self.rates[-1] / rate)))

    def supported(self, rate: float) -> bool:
        """Return whether enough pairs were measured to promise the rate."""
        return rate >= self.least_rate

    @property
    def least_rate(self) -> float:
        """The lowest rate that can be promised."""
        return LEAST_ABOVE / self.effective_pairs


def impostor_tail(similarity_N: Float, first_N: Labels, second_N: Labels) -> Tail:
    """Measure the tail of pairs of different people; first and second say who they are, by any numbers."""
    people_N, label_N = np.unique(np.concatenate([first_N, second_N]), return_inverse=True)
    pair_N2 = np.sort(label_N.reshape(2, -1), 0).T
    falling_N = np.sort(similarity_N.astype(np.float64))[::-1]
    count = len(falling_N)
    rank_L = np.unique(np.round(np.geomspace(1, max(1, count // 2), LEVELS)).astype(np.int64))
    effect_L = _design_effects(similarity_N, pair_N2, len(people_N), falling_N, rank_L)
    # Just above the pair of this rank, so that ties with it fall out too.
    cosine_L = np.nextafter(falling_N[rank_L - 1], np.inf)
    above_L = (rank_L - 1) / effect_L
    rate_L = _most(above_L, count / effect_L)
    last = _first(above_L >= LEAST_ABOVE)
    kept = slice(None, None if last == 0 else last - 1, -1)
    return Tail(
        rates=tuple(rate_L[kept].tolist()),
        cosines=tuple(cosine_L[kept].tolist()),
        slope=_slope(falling_N, rank_L, above_L),
        pairs=count,
        people=len(people_N),
        effective_pairs=float(count / effect_L[last]),
    )


def _design_effects(
    similarity_N: Float, pair_N2: Labels, people: int, falling_N: Float, rank_L: Labels
) -> NDArray[np.float64]:
    """Return at each rank how many times larger the variance of the share above is than with independent pairs."""
    if people < 3:
        return np.full(len(rank_L), float(len(similarity_N)))  # one pair of people is one pair
    dyad_N = pair_N2[:, 0] * people + pair_N2[:, 1]
    _, dyad_N = np.unique(dyad_N, return_inverse=True)
    effect_L = np.empty(len(rank_L))
    for level, rank in enumerate(rank_L):
        rest_N = (similarity_N >= falling_N[rank - 1]).astype(np.float64)
        share = rest_N.mean()
        rest_N -= share
        person_K = np.bincount(pair_N2[:, 0], rest_N, people) + np.bincount(pair_N2[:, 1], rest_N, people)
        sum_D = np.bincount(dyad_N, rest_N)
        # Pairs of dyads that share a person; a dyad with itself is in the first sum twice. People are a sample too.
        variance = (person_K @ person_K - sum_D @ sum_D) * people / (people - 2)
        effect_L[level] = variance / max(share * (1 - share) * len(rest_N), 1e-12)
    effect_L = np.maximum(effect_L, 1.0)
    # So few pairs are above the last levels that they cannot show their dependence: it is that of the levels before.
    reliable_L = rank_L >= RELIABLE_ABOVE
    known_L = effect_L[reliable_L] if reliable_L.any() else effect_L
    highest = known_L[: max(1, len(known_L) // 2)].max()
    return np.where(reliable_L, effect_L, np.maximum(effect_L, highest))


def _slope(falling_N: Float, rank_L: Labels, above_L: Float) -> float:
    level = _first(above_L >= SLOPE_ABOVE)
    rank, above = int(rank_L[level]), max(float(above_L[level]), 1.0)
    excess = float((falling_N[:rank] - falling_N[rank - 1]).mean())
    # The sum of exponential excesses is a gamma variable.
    return excess * above / float(_special().gammaincinv(above, 1 - SLOPE_CONFIDENCE))


def _most(above_L: Float, count_L: Float) -> Float:
    """Return Clopper and Pearson's upper bound of a share, of which a lower cosine has no less."""
    bound_L: Float = _special().betaincinv(above_L + 1, np.maximum(count_L - above_L, 1e-9), CONFIDENCE)
    return np.maximum.accumulate(bound_L)


def _special() -> Any:  # SciPy has no stubs
    return importlib.import_module("scipy.special")


def _first(wanted_L: NDArray[np.bool_]) -> int:
    """Return the first level that is wanted, else the last of all."""
    return int(np.argmax(wanted_L)) if wanted_L.any() else len(wanted_L) - 1
