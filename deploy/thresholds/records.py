"""Measured directions from JSON, every value checked: a threshold file decides who is called whom."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast

from calib.directions import DIRECTIONS, Direction, Measured
from calib.impostors import Tail
from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterable

ROUNDING = 1e-3  # cosines of unit vectors in float32 go past 1 by less


def read_directions(raw: object) -> dict[Direction, Measured]:
    """Return the directions of a manifest or a file; BadInput names the direction and the value."""
    found: dict[Direction, Measured] = {}
    for name, values in _object("directions", raw).items():
        if name not in DIRECTIONS:
            raise BadInput(f"expected a direction out of {', '.join(DIRECTIONS)}, got {name!r}")
        record = _object(name, values)
        found[name] = Measured(
            tails=tuple(_tail(name, tail) for tail in _list(name, record.get("tails"))),
            genuine=_cosines(name, record.get("genuine")),
            genuine_pairs=_count(name, record, "genuine_pairs", least=0),
        )
        if not found[name].tails:
            raise BadInput(f"{name}: expected at least one tail, got none")
    if not found:
        raise BadInput("expected at least one direction, got none")
    return found


def read_number(record: dict[str, Any], name: str) -> float:
    """Return a finite number of a record."""
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput(f"expected a number for {name}, got {value!r}")
    return float(value)


def _tail(name: str, raw: object) -> Tail:
    record = _object(name, raw)
    rates, cosines = _numbers(name, record.get("rates")), _cosines(name, record.get("cosines"))
    falling = all(high >= low for high, low in pairwise(rates)) and all(0 < rate <= 1 for rate in rates)
    slope = read_number(record, "slope")
    if not rates or len(rates) != len(cosines) or not falling or slope < 0:
        raise BadInput(
            f"{name}: expected falling rates from 1 to 0, a cosine for each and a slope of 0 or more, got {len(rates)} "
            f"rates, {len(cosines)} cosines and slope {slope:g}"
        )
    worth = "effective_pairs"
    effective_pairs = read_number(record, worth)
    if effective_pairs <= 0:
        raise BadInput(f"{name}: expected a positive number for {worth}, got {effective_pairs:g}")
    return Tail(
        rates=rates,
        cosines=cosines,
        slope=slope,
        pairs=_count(name, record, "pairs", least=1),
        people=_count(name, record, "people", least=1),
        effective_pairs=effective_pairs,
    )


def _count(name: str, record: dict[str, Any], what: str, *, least: int) -> int:
    value = read_number(record, what)
    if not least <= value < 2**53 or not value.is_integer():
        raise BadInput(f"{name}: expected a positive number for {what}, got {value:g}")
    return int(value)


def _cosines(name: str, raw: object) -> tuple[float, ...]:
    values = _numbers(name, raw)
    if any(low > high for low, high in pairwise(values)) or any(abs(value) > 1 + ROUNDING for value in values):
        raise BadInput(f"{name}: expected rising cosines from -1 to 1, got {_short(values)}")
    return values


def _numbers(name: str, raw: object) -> tuple[float, ...]:
    return tuple(read_number({name: value}, name) for value in _list(name, raw))


def _object(name: str, raw: object) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise BadInput(f"{name}: expected a JSON object, got {type(raw).__name__}")
    return cast("dict[str, Any]", raw)


def _list(name: str, raw: object) -> list[Any]:
    if not isinstance(raw, list):
        raise BadInput(f"{name}: expected a list, got {type(raw).__name__}")
    return cast("list[Any]", raw)


def _short(values: Iterable[float]) -> str:
    text = ", ".join(f"{value:.3g}" for value in values)
    return text if len(text) < 60 else text[:57] + "..."
