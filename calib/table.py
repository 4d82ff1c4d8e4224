"""The calibration table: what was measured, on which images, for which graph. An artefact of its own, as JSON.

The same numbers can become Q/DQ pairs, dynamic ranges or a TensorRT cache, so the images are needed only once.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from engines.atomic import write_text
from engines.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class CalibrationTable:
    """amax maps a tensor of the FP32 graph to the magnitude that becomes 127."""

    graph_sha256: str  # of the FP32 ONNX file
    range_method: str  # calib.ranges.RangeMethod
    images: int
    images_sha256: str
    amax: dict[str, float]
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.format != FORMAT:
            raise BadInput(f"calibration table: expected format {FORMAT}, got {self.format!r}; calibrate again")
        for name, value in self.amax.items():
            if not isinstance(cast("object", value), (int, float)) or not math.isfinite(value) or value < 0:
                raise BadInput(f"calibration table: expected a range of 0 or more for {name!r}, got {value!r}")

    def save(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=1, sort_keys=True) + "\n")


def load_table(path: Path) -> CalibrationTable:
    """Read a table; every defect is one line."""
    try:
        raw: Any = json.loads(path.read_text(encoding="utf-8"))
        return CalibrationTable(**raw)
    except (OSError, ValueError) as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{path}: expected a calibration table, got {error}; calibrate again") from error
    except (TypeError, AttributeError) as error:
        raise BadInput(
            f"{path}: a field is missing, unknown or of the wrong type ({error}); calibrate again"
        ) from error
