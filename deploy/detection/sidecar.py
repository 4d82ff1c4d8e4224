"""`detector.json` beside a detector's file: what its graph cannot say. Every key may be left out.

    {"head": "yolov8", "colour": "rgb", "scale": 0.003921569, "mean": [0, 0, 0], "std": [1, 1, 1],
     "resize": "letterbox", "fill": 114, "person": 0, "size": [640, 640]}

The input is (pixel * scale - mean) / std with pixels from 0 to 255, mean and std in the order of `colour`; `person` is
the class that is a person; `size` is width and height for a graph that leaves them free. A file of the detector's own
name (`NAME.detector.json`) comes before `detector.json`, which is for all in its folder.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np

from deploy.detection.heads.form import Colour, Convention, Resize
from engines.errors import BadInput
from engines.spelling import did_you_mean
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from pathlib import Path

NAME = "detector.json"
CONVENTION_KEYS = tuple(field.name for field in dataclasses.fields(Convention))
KEYS = ("head", "size", *CONVENTION_KEYS)


@dataclass(frozen=True, kw_only=True)
class Sidecar:
    """What the file says; None and no changes where it is silent."""

    head: str | None = None
    size_px: tuple[int, int] | None = None  # width, height
    changes: tuple[tuple[str, Any], ...] = ()  # fields of Convention

    def apply(self, convention: Convention) -> Convention:
        return dataclasses.replace(convention, **dict(self.changes))


def load_sidecar(detector: Path, heads: tuple[str, ...]) -> Sidecar:
    """Read the file beside the detector, if there is one."""
    candidates = (detector.with_suffix(f".{NAME}"), detector.with_name(NAME))
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        return Sidecar()
    try:
        content: Any = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected JSON, got {error}") from error
    if not isinstance(content, dict):
        raise BadInput(f'{path}: expected an object such as {{"head": "yolov8"}}, got a {type(content).__name__}')
    known = cast("dict[str, Any]", content)
    _check(path, known, heads)
    size = known.get("size")
    changes = {key: tuple(value) if key in ("mean", "std") else value for key, value in known.items()}
    return Sidecar(
        head=known.get("head"),
        size_px=(size[0], size[1]) if size is not None else None,
        changes=tuple((key, value) for key, value in changes.items() if key in CONVENTION_KEYS),
    )


def _check(path: Path, content: dict[str, Any], heads: tuple[str, ...]) -> None:
    for key, value in content.items():
        if key not in KEYS:
            raise BadInput(f"{path}: expected keys out of {', '.join(KEYS)}, got {key!r}{did_you_mean(key, KEYS)}")
        expected = _refusal(key, value, heads)
        if expected is not None:
            raise BadInput(f"{path}: {key}: expected {expected}, got {value!r}")


def _refusal(key: str, value: Any, heads: tuple[str, ...]) -> str | None:
    """Return what the key wants where the value is something else."""
    match key:
        case "head" | "colour" | "resize":
            words = {"head": heads, "colour": get_args(Colour), "resize": get_args(Resize)}[key]
            return None if value in words else f"one of {', '.join(words)}"
        case "size":
            numbers = _numbers(value, 2)
            return None if numbers and all(_whole(item, 1) for item in numbers) else "[width, height] in pixels"
        case "mean":
            return None if _numbers(value, 3) else "three numbers"
        case "std":
            numbers = _numbers(value, 3)
            return None if numbers and min(numbers) > 0 else "three numbers above 0"
        case "scale":
            numbers = _numbers([value], 1)
            return None if numbers and numbers[0] > 0 else "a number above 0"
        case _:
            return None if _whole(value, 0) and (key != "fill" or value <= 255) else "a whole number from 0"


def _numbers(value: Any, count: int) -> list[float]:
    """Return the list where it holds count numbers, else nothing."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) != count:
        return []
    found = cast("list[Any]", value)
    fits = all(isinstance(item, (int, float)) and not isinstance(item, bool) for item in found)
    return found if fits and np.isfinite(found).all() else []


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
