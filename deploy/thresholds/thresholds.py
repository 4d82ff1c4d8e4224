"""From which cosine on the cameras call two tracks one person: by direction, and by how many people are searched.

A search among N people gives a false match with the chance 1 - (1 - f)^N, where f is the share of pairs of different
people that reach the threshold (ISO/IEC 19795-1). For the rate that was asked for, f must be 1 - (1 - rate)^(1/N): the
more people, the higher the threshold. Where nothing was measured the cosines are fixed and nothing is promised.

The measured pairs are of a track and one stored tracklet. Where people stand in the gallery with several, count
tracklets: with 1.6 to 3.2 of them a person, 200 people measured and 10 % asked for among 5, counting people broke the
promise in 78 of 100 calibrations, counting tracklets in none.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from calib.directions import DIRECTIONS, Direction, Measured
from deploy.thresholds.records import read_directions, read_number
from engines.atomic import write_text
from engines.errors import BadInput
from engines.model_id import model_id
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from engines.manifest import Manifest, Modality

__all__ = ["DIRECTIONS", "Direction", "Thresholds", "direction_of", "fixed", "from_manifest", "load_thresholds"]

FORMAT = 1
KEYS = ("format", "model", "engine", "created", "source", "false_match_rate", "directions")
AGAIN = "calibrate again with deploy/calibrate_threshold.py"
RETURNS = 10  # people among whom somebody is searched who comes back, for readers of manifests that know no directions


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What is known of each direction. `model` is engines.model_id's."""

    measured: Mapping[Direction, Measured] = field(default_factory=dict[Direction, Measured])
    fixed: Mapping[Direction, float] = field(default_factory=dict[Direction, float])  # where nothing was measured
    false_match_rate: float | None = None  # that was asked for; None: nothing is promised
    source: str = ""
    model: str = ""
    engine: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        rate = self.false_match_rate
        if rate is not None and not 0 < rate < 1:
            raise BadInput(f"false_match_rate: expected a share between 0 and 1, got {rate:g}")
        if self.measured and rate is None:
            raise BadInput("false_match_rate: expected a share for the measured directions, got none")

    def least(self, direction: Direction, people: int) -> float:
        """Return the cosine from which on a search among people is a match; infinite where nothing is known.

        It never falls with more people (or stored tracklets, see above). Fixed cosines do not depend on them.
        """
        measured = self.measured.get(direction)
        if measured is None:
            return self.fixed.get(direction, math.inf)
        return measured.least(self.pair_rate(people))

    def supported(self, direction: Direction, people: int) -> bool:
        """Return whether enough pairs were measured to promise the rate in a search among people."""
        measured = self.measured.get(direction)
        return measured is not None and measured.supported(self.pair_rate(people))

    def most_people(self, direction: Direction) -> int:
        """Return among how many people a search is supported; 0: not even one."""
        measured = self.measured.get(direction)
        if measured is None or self.false_match_rate is None:
            return 0
        least_rate = min(measured.least_rate, 1 - 1e-9)
        people = round(math.log1p(-self.false_match_rate) / math.log1p(-least_rate))
        return people if people and self.supported(direction, people) else max(people - 1, 0)

    def pair_rate(self, people: int) -> float:
        """Return the share of pairs of different people that may match, so that a search among people keeps the rate.

        A search among nobody is one among one.
        """
        # log1p and expm1: in a search among a million people the plain formula loses half of its digits.
        return -math.expm1(math.log1p(-(self.false_match_rate or 0.0)) / max(1, people))

    def true_match_rate(self, direction: Direction, people: int) -> float | None:
        """Return the share of measured pairs of one person that match in a search among people; None: unknown."""
        measured = self.measured.get(direction)
        return None if measured is None else measured.true_match_rate(self.least(direction, people))

    def at(self, false_match_rate: float) -> Thresholds:
        """Return the same measurements for another rate; fixed cosines stay as they are."""
        return dataclasses.replace(self, false_match_rate=false_match_rate) if self.measured else self

    def over(self, base: Thresholds | None) -> Thresholds:
        """Return these, with the directions that they lack taken from base, at the rate of these."""
        if base is None:
            return self
        return dataclasses.replace(
            self, measured={**base.measured, **self.measured}, fixed={**base.fixed, **self.fixed}
        )

    def as_manifest(self) -> dict[str, Any]:
        """Return what an engine's manifest keeps: the directions, and a cosine for each decision for older readers.

        Those are of a pair in the picture now, and of somebody who was met before among RETURNS people, in the other
        modality and in the same.
        """
        return {
            "threshold": self.least("together", 1),
            "recall_threshold": self._returns("visible->infrared", "infrared->visible"),
            "same_modality_threshold": self._returns("visible->visible", "infrared->infrared"),
            "false_match_rate": self.false_match_rate,
            "true_match_rate": self.true_match_rate("together", 1),
            "pairs": sum(tail.pairs for tail in self.measured["together"].tails),
            "source": self.source,
            "directions": self._directions(),
        }

    def save(self, path: Path) -> None:
        """Write the measured directions whole or not at all."""
        values = (FORMAT, self.model, self.engine, self.created, self.source, self.false_match_rate, self._directions())
        try:
            write_text(path, json.dumps(dict(zip(KEYS, values, strict=True)), indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"could not write {path}: {error}; free some disk or name another file") from error

    def _returns(self, *directions: Direction) -> float | None:
        return max((self.least(name, RETURNS) for name in directions if name in self.measured), default=None)

    def _directions(self) -> dict[str, Any]:
        # Through JSON, so that it is the same before and after a manifest was written: lists, no tuples.
        return json.loads(json.dumps({name: dataclasses.asdict(found) for name, found in self.measured.items()}))


def direction_of(query: Modality, stored: Modality) -> Direction:
    """Name the search with a track of one modality among stored ones of another."""
    return cast("Direction", f"{query}->{stored}")


def fixed(threshold: float) -> Thresholds:
    """Take one cosine for every number of people; nothing is promised.

    Two pictures of one camera resemble each other whoever is in them, so a return in one modality asks for more: half
    of the way from the threshold to 1.
    """
    if not -1 <= threshold <= 1:
        raise BadInput(f"--threshold: expected a cosine from -1 to 1, got {threshold:g}")
    return _fixed(threshold, threshold, (threshold + 1) / 2)


def from_manifest(manifest: Manifest) -> Thresholds | None:
    """Return what the engine was built with; None where nobody was labelled, and so nothing was measured.

    Engines of before kept three cosines and no directions: theirs are fixed.
    """
    known = manifest.matching
    if "threshold" not in known:
        return None
    try:
        if "directions" in known:
            measured = read_directions(known["directions"])
            found = Thresholds(measured=measured, false_match_rate=read_number(known, "false_match_rate"))
        else:
            threshold, across, same = read_number(known, "threshold"), "recall_threshold", "same_modality_threshold"
            found = _fixed(
                threshold,
                threshold if known.get(across) is None else read_number(known, across),
                (threshold + 1) / 2 if known.get(same) is None else read_number(known, same),
            )
    except BadInput as error:
        raise BadInput(f"manifest, matching: {error}; rebuild with deploy/build_engine.py") from error
    source = str(known.get("source", ""))
    return dataclasses.replace(
        found, source=source, model=model_id(manifest), engine=manifest.method, created=manifest.created
    )


def load_thresholds(path: Path, model: str) -> Thresholds:
    """Read a file of `save` and refuse one that was measured with another model."""
    try:
        raw: object = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInput(
            f"{path}: expected a file of thresholds, found none; make one with deploy/calibrate_threshold.py"
        ) from error
    except (ValueError, OSError) as error:
        raise BadInput(f"{path}: expected thresholds as JSON, got {error}; {AGAIN}") from error
    if not isinstance(raw, dict):
        raise BadInput(f"{path}: expected a JSON object, got {type(raw).__name__}; {AGAIN}")
    record = cast("dict[str, Any]", raw)
    if record.get("format") != FORMAT or set(record) != set(KEYS):
        odd = ", ".join(sorted(set(record) ^ set(KEYS))) or f"format {record.get('format')!r}"
        raise BadInput(f"{path}: expected thresholds of format {FORMAT}, got another file ({odd}); {AGAIN}")
    if record["model"] != model:
        raise BadInput(
            f"{path}: expected thresholds of model {model}, got those of model {record['model']} ({record['engine']}); "
            f"cosines of two models do not compare: {AGAIN}"
        )
    try:
        measured, rate = read_directions(record["directions"]), read_number(record, "false_match_rate")
        source, engine, created = (str(record[name]) for name in ("source", "engine", "created"))
        return Thresholds(
            measured=measured, false_match_rate=rate, source=source, model=model, engine=engine, created=created
        )
    except BadInput as error:
        raise BadInput(f"{path}: {error}; {AGAIN}") from error


def _fixed(together: float, across: float, same: float) -> Thresholds:
    cosines: dict[Direction, float] = {
        "together": together,
        "visible->infrared": across,
        "infrared->visible": across,
        "visible->visible": same,
        "infrared->infrared": same,
    }
    return Thresholds(fixed=cosines)
