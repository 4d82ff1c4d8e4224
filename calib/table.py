"""The calibration table: what was measured, on which images, for which graph. An artefact of its own, as JSON.

The same numbers become Q/DQ pairs, the uint8 form, dynamic ranges and a TensorRT cache, so the images are needed once.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from calib.ranges import RANGE_METHODS
from engines.atomic import write_text
from engines.errors import BadInput
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from calib.ranges import RangeMethod

FORMAT = 2  # 1 had no lowest and no list_sha256
_KINDS = {"graph_sha256": str, "images_sha256": str, "list_sha256": str, "images": int, "amax": dict, "lowest": dict}


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """Two numbers for each tensor of the FP32 graph: the magnitude that becomes 127, and the least value seen."""

    graph_sha256: str  # of the FP32 ONNX file
    range_method: RangeMethod
    images: int
    images_sha256: str  # of names and bytes
    list_sha256: str  # of the names alone
    amax: dict[str, float]
    lowest: dict[str, float]  # 0 where nothing was negative, as behind a ReLU
    format: int = FORMAT

    def __post_init__(self) -> None:
        if (type(self.format), self.format) != (int, FORMAT):
            raise BadInput(f"calibration table: expected format {FORMAT}, got {self.format!r}; calibrate again")
        for name, kind in _KINDS.items():
            if not isinstance(getattr(self, name), kind) or isinstance(getattr(self, name), bool):
                raise BadInput(f"calibration table: expected {kind.__name__} as {name}, got {getattr(self, name)!r}")
        if self.range_method not in RANGE_METHODS:
            raise BadInput(
                f"calibration table: expected a range method out of {', '.join(RANGE_METHODS)}, "
                f"got {self.range_method!r}"
            )
        if self.amax.keys() != self.lowest.keys():
            name = min(self.amax.keys() ^ self.lowest.keys())
            raise BadInput(f"calibration table: expected amax and lowest of the same tensors, got one of {name!r}")
        for name, value in self.amax.items():
            _check(name, value, sign=1.0)
        for name, value in self.lowest.items():
            _check(name, value, sign=-1.0)

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n")


def _check(name: str, value: object, *, sign: float) -> None:
    number = cast("float", value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or sign * number < 0:
        kind = "a range of 0 or more" if sign > 0 else "a least value of 0 or less"
        raise BadInput(f"calibration table: expected {kind} for {name!r}, got {value!r}")


def load_table(path: Path) -> CalibrationTable:
    """Read a table; every defect is one line."""
    try:
        raw: Any = parse_json(path.read_text(encoding="utf-8"))
        # Before the fields, which differ: an old table is old, not damaged.
        if "format" in raw and raw["format"] != FORMAT:
            raise BadInput(f"calibration table: expected format {FORMAT}, got {raw['format']!r}; calibrate again")
        return CalibrationTable(**raw)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: expected a calibration table, got {error}; calibrate again") from error
    except (TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: a field is missing, unknown or of the wrong type ({error}); calibrate again"
        ) from error
