"""Judge engines of a folder against its PyTorch program, on the same held-out images.

Shapes: N images, D embedding.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from calib.drift import Drift, drift_of, measure_drift, violations
from deploy.parity.compare import embed_with
from engines.errors import BadInput
from engines.open import RUNTIMES, open_engine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from deploy.building.request import BuildRequest
    from engines.manifest import Precision
    from train.datasets.images import ImageRecord

log = logging.getLogger(__name__)

CPU_BACKENDS = ("openvino", "onnxruntime")


class ParityCheck:
    """The reference, made once, and what the request allows.

    Without labels (crops of a site, whose people nobody named) mAP is not judged, the nearest image is.
    """

    def __init__(
        self, folder: Path, records: Sequence[ImageRecord], request: BuildRequest, *, dataset: str | None
    ) -> None:
        self._folder, self._records, self._request, self._dataset = folder, records, request, dataset
        self.backends = [name for name in CPU_BACKENDS if not RUNTIMES[name].missing()]
        self.reference_ND = embed_records(folder, records, "torch", "fp32")

    def drift(self, backend: str, precision: Precision) -> Drift:
        engine_ND = embed_records(self._folder, self._records, backend, precision)
        if self._dataset is None:
            infrared_N = [record.modality == "infrared" for record in self._records]
            return measure_drift(self.reference_ND, engine_ND, infrared_N)
        return drift_of(self._records, self.reference_ND, engine_ND, dataset=self._dataset)

    def broken(self, drift: Drift, precision: Precision) -> list[str]:
        """Say which limits are broken."""
        return violations(drift, self._request.limits(precision), self._request.max_map_drop)

    def check(self, precision: Precision) -> dict[str, Any]:
        """Measure every runtime here, refuse what is over the limits; return the figures for the manifest."""
        figures: dict[str, Any] = {}
        found: list[str] = []
        for backend in self.backends:
            drift = self.drift(backend, precision)
            name = f"{backend} {precision}"
            log.info("parity %s against torch fp32, %d held-out images: %s", name, drift.images, drift)
            figures[name] = dataclasses.asdict(drift)
            found += [f"{name}: {line}" for line in self.broken(drift, precision)]
        if found and not self._request.accept_drift:
            raise BadInput(
                f"{precision} is too far from PyTorch: {'; '.join(found)}; calibrate on more images "
                "(--calibration-images), leave the precision out, or take it with --accept-drift"
            )
        for line in found:
            log.warning("accepted drift: %s", line)
        return figures


def embed_records(
    folder: Path, records: Sequence[ImageRecord], backend: str, precision: str | None
) -> NDArray[np.float32]:
    """Embed images with an engine of folder, in the order of records (N, D)."""
    with open_engine(folder, backend=backend, precision=precision) as engine:
        return embed_with(engine, records)
