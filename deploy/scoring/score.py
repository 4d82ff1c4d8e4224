"""How good a run was against a truth: links between tracks, false matches, and identities over all cameras.

What is counted, over the tracks of the whole run with their final identities:

- *cross-modality links*: pairs of a visible and an infrared track, from any cameras and times, that share an identity;
  right where both follow one person. *Returns*: the same for two tracks of one modality.
- *false matches of searches*: every track that began when others were known is a search. It is falsely matched where
  it has the identity of tracks that began earlier and none of them follows its person. The direction is that of the
  track it was matched with: the one that the run names, else the latest under its identity. *Newcomers* are the
  searches with the first track of a person: somebody unknown is searched among the known, and found. That rate is what
  a threshold's false-match rate promises.
- *false matches in view*: pairs of a visible and an infrared track of two people, over the same ground at the same
  time, that share an identity.
- *unknowns kept*: people who come once and share an identity with no other person's track.
- *IDF1* over all boxes, and over the boxes of those who were seen in both modalities.

A track follows whom it lies on for most, and at least half, of its boxes. Stray tracks, which follow nobody, make a
link wrong; false matches and unknowns leave them out, for who was matched there cannot be told. Tracked boxes match
true boxes at an overlap (intersection over union) of 0.5 or more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

from calib.directions import DIRECTIONS, Direction
from deploy.scoring.files import Boxes, Person, Run, Spot, Truth, TruthCamera, read_run, read_truth
from deploy.scoring.tracks import count_fragments, count_switches, identity_counts, match_boxes, track_spans
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deploy.scoring.tracks import IdentityCounts, TrackSpan

__all__ = [
    "Boxes", "DirectionScore", "Person", "Run", "Score", "Share", "Spot", "Truth", "TruthCamera", "read_run",
    "read_truth", "score",
]  # fmt: skip

LEAST_OVERLAP = 0.5
NORMAL_95 = 1.959964  # two-sided 95 % of a normal distribution


@dataclass(frozen=True, kw_only=True)
class Share:
    """A count out of a whole."""

    part: int
    whole: int

    @property
    def rate(self) -> float | None:
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true rate lies with 95 % confidence (Wilson, JASA 1927): right for small counts and for none."""
        if not self.whole:
            return 0.0, 1.0
        rate, weight = self.part / self.whole, NORMAL_95**2 / self.whole
        middle = rate + weight / 2
        half = NORMAL_95 * sqrt(rate * (1 - rate) / self.whole + weight / self.whole / 4)
        return max(0.0, (middle - half) / (1 + weight)), min(1.0, (middle + half) / (1 + weight))

    def __str__(self) -> str:
        return f"{_show(self.rate)} ({self.part} of {self.whole})"


@dataclass(frozen=True, kw_only=True)
class Links:
    """Pairs of tracks under one identity; those that are right, and those that should be."""

    predicted: int
    true: int
    correct: int

    @property
    def precision(self) -> Share:
        return Share(part=self.correct, whole=self.predicted)

    @property
    def recall(self) -> Share:
        return Share(part=self.correct, whole=self.true)


@dataclass(frozen=True, kw_only=True)
class Search:
    """A track that began when others were known: how it was compared, and in which direction wrongly matched."""

    newcomer: bool
    compared: frozenset[Direction]
    wrong: Direction | None


@dataclass(frozen=True, kw_only=True)
class DirectionScore:
    """Those that could be falsely matched in one direction, searching -> stored, and those that were."""

    direction: Direction
    searches: Share
    newcomers: Share


@dataclass(frozen=True, kw_only=True)
class Score:
    """The counts that the module describes; what has nothing to divide by is None."""

    people: int
    people_in_both: int  # seen in both modalities
    people_matched: int  # of those: at least one right cross-modality link
    tracks: int
    stray_tracks: int  # of those: follow nobody
    cross: Links
    returns: Links
    searches: Share
    newcomers: Share
    directions: tuple[DirectionScore, ...]
    in_view: Share
    false_match_rate: float | None  # promised
    unknowns_kept: Share
    identities: IdentityCounts
    identities_in_both: IdentityCounts
    switches: int  # a track goes over from one person to another
    fragments: int  # a person in view goes over to another track

    @property
    def pair_precision(self) -> float | None:
        return self.cross.precision.rate

    @property
    def pair_recall(self) -> float | None:
        return self.cross.recall.rate

    @property
    def idf1(self) -> float | None:
        return _f1(self.identities)

    @property
    def idf1_in_both(self) -> float | None:
        return _f1(self.identities_in_both)

    def __str__(self) -> str:
        return (
            f"{self.people_in_both} people, {self.people_matched} matched across the cameras, "
            f"{self.cross.predicted - self.cross.correct} wrong pairs; pair precision {_show(self.pair_precision)}, "
            f"recall {_show(self.pair_recall)}; IDF1 {_show(self.idf1)}"
        )


def score(run: Run, truth: Truth, least_overlap: float = LEAST_OVERLAP) -> Score:
    """Compare a run with the truth."""
    unknown = sorted({spot.camera for spot in run.boxes} - truth.cameras.keys())
    if unknown:
        raise BadInput(
            f"expected sightings of the cameras {', '.join(truth.cameras)}, which the truth has, got camera "
            f"{unknown[0]!r}; score against the truth of this run"
        )
    matches = match_boxes(run, truth, least_overlap)
    tracks = track_spans(run, truth, matches)
    cross, returns = count_links(tracks)
    searches = find_searches(run, tracks)
    newcomers = [search for search in searches if search.newcomer]
    people, in_both = _people(truth)
    return Score(
        people=len(people),
        people_in_both=len(in_both),
        people_matched=len(_matched_people(tracks)),
        tracks=len(tracks),
        stray_tracks=sum(track.label is None for track in tracks),
        cross=cross,
        returns=returns,
        searches=_falsely_matched(searches),
        newcomers=_falsely_matched(newcomers),
        directions=tuple(
            DirectionScore(
                direction=name,
                searches=_falsely_matched(searches, name),
                newcomers=_falsely_matched(newcomers, name),
            )
            for name in DIRECTIONS
        ),
        in_view=joined_in_view(tracks),
        false_match_rate=run.false_match_rate,
        unknowns_kept=kept_unknown(tracks, truth.unknowns),
        identities=identity_counts(run, truth, matches, least_overlap),
        identities_in_both=identity_counts(run, truth, matches, least_overlap, in_both),
        switches=count_switches(matches),
        fragments=count_fragments(truth, matches),
    )


def count_links(tracks: Sequence[TrackSpan]) -> tuple[Links, Links]:
    """Count pairs of tracks across modalities, and within them."""
    named = [track for track in tracks if track.identity is not None]
    following = [track for track in tracks if track.label is not None]
    predicted = _pairs((track.modality, track.identity) for track in named)
    true = _pairs((track.modality, track.label) for track in following)
    correct = _pairs((track.modality, (track.identity, track.label)) for track in named if track.label is not None)
    return (
        Links(predicted=predicted[0], true=true[0], correct=correct[0]),
        Links(predicted=predicted[1], true=true[1], correct=correct[1]),
    )


def _pairs(tracks: Iterable[tuple[str, object]]) -> tuple[int, int]:
    """Return how many pairs of tracks, given by modality and group, share a group: across modalities, within one."""
    counts = Counter(tracks)
    across = sum(count * counts["infrared", group] for (name, group), count in counts.items() if name == "visible")
    return across, sum(count * (count - 1) // 2 for count in counts.values())


def _matched_people(tracks: Iterable[TrackSpan]) -> set[int]:
    seen: defaultdict[tuple[int, int], set[str]] = defaultdict(set)
    for track in tracks:
        if track.label is not None and track.identity is not None:
            seen[track.label, track.identity].add(track.modality)
    return {label for (label, _), modalities in seen.items() if len(modalities) > 1}


def find_searches(run: Run, tracks: Sequence[TrackSpan]) -> list[Search]:
    """Return what every track was compared with; tracks are in order of their first box."""
    following = [track for track in tracks if track.label is not None]
    searches: list[Search] = []
    for number, track in enumerate(following[1:], start=1):
        earlier = following[:number]
        same = [other for other in earlier if track.identity is not None and other.identity == track.identity]
        taken = [] if any(other.label == track.label for other in same) else same
        named = [other for other in taken if other.key == run.matched.get(track.key)]
        searches.append(
            Search(
                newcomer=all(other.label != track.label for other in earlier),
                compared=frozenset(direction(track, other) for other in earlier),
                wrong=direction(track, (named or taken)[-1]) if taken else None,
            )
        )
    return searches


def _falsely_matched(searches: Sequence[Search], name: Direction | None = None) -> Share:
    asked = [search for search in searches if name is None or name in search.compared]
    return Share(part=sum(s.wrong is not None and name in (None, s.wrong) for s in asked), whole=len(asked))


def direction(track: TrackSpan, other: TrackSpan) -> Direction:
    """Name how a track is compared with another that began earlier."""
    if _in_view_together(track, other):
        return "together"
    return next(name for name in DIRECTIONS if name == f"{track.modality}->{other.modality}")


def _in_view_together(one: TrackSpan, other: TrackSpan) -> bool:
    at_once = one.first_s <= other.last_s and other.first_s <= one.last_s
    return at_once and one.place == other.place and one.modality != other.modality


def joined_in_view(tracks: Sequence[TrackSpan]) -> Share:
    """Count cross-modality pairs of two people in view together, and those under one identity."""
    following = [track for track in tracks if track.label is not None]
    pairs = [
        one.identity is not None and one.identity == other.identity
        for number, one in enumerate(following)
        for other in following[:number]
        if one.label != other.label and _in_view_together(one, other)
    ]
    return Share(part=sum(pairs), whole=len(pairs))


def kept_unknown(tracks: Sequence[TrackSpan], unknowns: Iterable[int]) -> Share:
    """Count the tracked people out of unknowns whose identities nobody else's track has."""
    kept = found = 0
    for person in unknowns:
        own = [track for track in tracks if track.label == person]
        identities = {track.identity for track in own} - {None}
        found += bool(own)
        others = [track for track in tracks if track.label not in (None, person)]
        kept += bool(own) and not any(track.identity in identities for track in others)
    return Share(part=kept, whole=found)


def _people(truth: Truth) -> tuple[set[int], set[int]]:
    """Return everybody, and those who are seen in both modalities."""
    seen: defaultdict[int, set[str]] = defaultdict(set)
    for spot, people in truth.boxes.items():
        for person in people:
            seen[person.label].add(truth.cameras[spot.camera].modality)
    return set(seen), {label for label, modalities in seen.items() if len(modalities) > 1}


def _f1(counts: IdentityCounts) -> float | None:
    whole = 2 * counts.true_positive + counts.false_positive + counts.false_negative
    return 2 * counts.true_positive / whole if whole else None


def _show(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
