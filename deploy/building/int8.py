"""Add the INT8 graphs: compare the ways to choose ranges, keep the best, and spend the accuracy budget.

Where the best ranges miss the budget, the layers that INT8 hurts most go back to higher precision, as few as will do.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calib.bias import bias_shifts, shift_biases
from calib.calibrate import calibrate
from calib.quantize import quantize
from calib.ranges import RANGE_METHODS
from calib.samples import CALIBRATION_BATCH, pixel_batches
from calib.sensitivity import fewest_kept, layer_sensitivity, layers_of
from calib.uint8 import quantize_uint8
from deploy.building.graphs import fp32_files, of_modalities, read_graph, write_graphs
from engines.benchmark import time_in_turns
from engines.manifest import sha256_of
from engines.open import open_engine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import onnx
    from numpy.typing import NDArray

    from calib.drift import Drift
    from calib.ranges import RangeMethod
    from calib.sensitivity import Sensitivity
    from calib.table import CalibrationTable
    from deploy.building.parity_check import ParityCheck
    from engines.manifest import Manifest
    from train.datasets.images import ImageRecord

log = logging.getLogger(__name__)

SHIFT_IMAGES = 128  # a mean over all places of all of them
SENSITIVITY_IMAGES = 32  # one layer's error is a mean over them; the judgement decides, not this order
SENSITIVITY_BATCH = 8
SPEED_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class Trade:
    """What keeping some layers out of INT8 buys and costs; of several runtimes the worst figures."""

    kept: tuple[str, ...]  # "stem:node"
    map_difference: float | None
    worst_cosine: float
    mean_cosine: float
    rank1_agreement: float
    within_budget: bool
    times_fp32: float  # images/s of the visible graph against FP32, the same runtime, batch and moment


class Int8Build:
    """The INT8 graphs of one engine folder, written again for every choice of ranges and layers that is tried."""

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        samples: Sequence[ImageRecord],
        judge: ParityCheck,
        *,
        implicit: bool = False,
    ) -> None:
        self.folder, self.manifest, self._judge = folder, manifest, judge
        self._samples, self._implicit = samples, implicit
        self.floats = {stem: read_graph(folder, stem) for stem in fp32_files(manifest)}
        self._tables: dict[str, dict[RangeMethod, CalibrationTable]] = {}
        self._shifts: dict[tuple[str, RangeMethod], dict[str, NDArray[np.float64]]] = {}
        self.range_method: RangeMethod = RANGE_METHODS[0]
        self.kept: tuple[str, ...] = ()
        self._drifts: dict[tuple[RangeMethod, tuple[str, ...], str], Drift] = {}
        self.trades: list[Trade] = []
        self.compared: dict[str, Drift] = {}

    def choose_ranges(self) -> None:
        """Calibrate in one pass, judge every range method with the first runtime, keep the best."""
        for stem, modalities in fp32_files(self.manifest).items():
            used = of_modalities(modalities, self._samples)
            log.info("calibrating %s on %d images (%s)", stem, len(used), " and ".join(sorted(modalities)))
            path = self.folder / f"{stem}.fp32.onnx"
            size_px = (self.manifest.height_px, self.manifest.width_px)
            self._tables[stem] = calibrate(path, used, *size_px, implicit=self._implicit)
        for method in RANGE_METHODS:
            self.range_method = method
            self._write()
            drift = self.compared[method] = self._drift(self._judge.backends[0])
            log.info("ranges by %s: %s", method, drift)
        self.range_method = max(RANGE_METHODS, key=self._merit)
        self._write()
        log.info("taking ranges by %s", self.range_method)

    def spend_budget(self) -> None:
        """Keep layers in higher precision where the ranges alone are over the limits, and note the trade."""
        self.trades.append(self._trade())
        if self.trades[0].within_budget:
            return
        ranked = sorted(
            ((f"{stem}:{row.layer}", row.gain) for stem in self.floats for row in self._sensitivity(stem)),
            key=lambda pair: -pair[1],
        )
        for name, gain in ranked[:5]:
            log.info("%s out of INT8 wins back %.6f of mean cosine", name, gain)
        kept = fewest_kept([name for name, _ in ranked], self._holds)
        if kept is None:
            log.warning("no choice of layers keeps INT8 within the limits; all of them stay INT8")
        self.kept = kept or ()
        self._write()
        if self.kept:
            self.trades.append(self._trade())
            log.info(
                "%d of %d layers return to higher precision: %s", len(kept or ()), len(ranked), ", ".join(self.kept)
            )

    def models(self) -> dict[str, onnx.ModelProto]:
        """Return the INT8 graph of each stem as chosen."""
        return {stem: self._quantized(stem) for stem in self.floats}

    def table(self, stem: str) -> CalibrationTable:
        return self._tables[stem][self.range_method]

    def kept_of(self, stem: str) -> tuple[str, ...]:
        """Return the nodes of one graph that stay out of INT8."""
        return tuple(name.split(":", 1)[1] for name in self.kept if name.split(":", 1)[0] == stem)

    def as_dict(self) -> dict[str, Any]:
        """Say for the manifest how the ranges and layers were chosen; writes the tables."""
        tables: dict[str, dict[str, str]] = {}
        for stem in self.floats:
            path = self.folder / f"{stem}.calibration.json"
            self.table(stem).save(path)
            tables[path.name] = {"sha256": sha256_of(path), "images_sha256": self.table(stem).images_sha256}
        return {
            "range_method": self.range_method,
            "compared": {method: dataclasses.asdict(drift) for method, drift in self.compared.items()},
            "kept": list(self.kept),
            "layers": sum(len(layers_of(model)) for model in self.floats.values()),
            "trade": [dataclasses.asdict(trade) for trade in self.trades],
            "tables": tables,
        }

    def _merit(self, method: RangeMethod) -> tuple[bool, float]:
        drift = self.compared[method]
        return not self._judge.broken(drift, "int8"), drift.mean_cosine

    def _holds(self, kept: tuple[str, ...]) -> bool:
        self.kept = kept
        self._write()
        return all(not self._judge.broken(self._drift(backend), "int8") for backend in self._judge.backends)

    def _drift(self, backend: str) -> Drift:
        """Judge the graphs as they are written now; a choice of ranges and layers is embedded once."""
        choice = (self.range_method, self.kept, backend)
        if choice not in self._drifts:
            self._drifts[choice] = self._judge.drift(backend, "int8")
        return self._drifts[choice]

    def _sensitivity(self, stem: str) -> list[Sensitivity]:
        pixels = self._pixels(stem, SENSITIVITY_IMAGES, SENSITIVITY_BATCH)
        return layer_sensitivity(self.floats[stem], self.table(stem).amax, list(pixels))

    def _pixels(self, stem: str, images: int, batch: int = CALIBRATION_BATCH) -> Iterator[NDArray[np.uint8]]:
        used = of_modalities(fp32_files(self.manifest)[stem], self._samples)[:images]
        return pixel_batches(used, self.manifest.height_px, self.manifest.width_px, batch)

    def _quantized(self, stem: str) -> onnx.ModelProto:
        """Quantise with the chosen ranges, then take the mean error out of the biases.

        A layer's shift does not depend on which others are float, so it is measured once for each range method.
        """
        table, source = self.table(stem), self.floats[stem]
        chosen = (stem, self.range_method)
        if chosen not in self._shifts:
            self._shifts[chosen] = bias_shifts(source, quantize(source, table.amax), self._pixels(stem, SHIFT_IMAGES))
        model = quantize(source, table.amax, keep_float=self.kept_of(stem))
        model = shift_biases(model, self._shifts[chosen])
        model.metadata_props.add(key="calibration_images_sha256", value=table.images_sha256)
        return model

    def _write(self) -> None:
        """Write what each runtime here will read, so that the judgement is of the files that ship."""
        self.manifest = write_graphs(self.folder, self.manifest, "int8", "onnx", self.models())
        uint8 = {
            stem: quantize_uint8(model, self.table(stem), keep_float=self.kept_of(stem))
            for stem, model in self.floats.items()
        }
        self.manifest = write_graphs(self.folder, self.manifest, "int8", "onnx-uint8", uint8)

    def _trade(self) -> Trade:
        drifts = [self._drift(backend) for backend in self._judge.backends]
        scores = [drift.map_difference for drift in drifts if drift.map_difference is not None]
        return Trade(
            kept=self.kept,
            map_difference=min(scores, default=None),
            worst_cosine=min(drift.worst_cosine for drift in drifts),
            mean_cosine=min(drift.mean_cosine for drift in drifts),
            rank1_agreement=min(drift.rank1_agreement for drift in drifts),
            within_budget=not any(self._judge.broken(drift, "int8") for drift in drifts),
            times_fp32=speed_ratio(self.folder, self._judge.backends[0], self._samples),
        )


def speed_ratio(folder: Path, backend: str, samples: Sequence[ImageRecord]) -> float:
    """Return how many times faster INT8 embeds a batch of visible images than FP32 here, in turns."""
    with (
        open_engine(folder, backend=backend, precision="int8") as int8,
        open_engine(folder, backend=backend, precision="fp32") as fp32,
    ):
        manifest = int8.manifest
        visible = of_modalities(["visible"], samples)[:SPEED_BATCH]
        (image_BHWC,) = pixel_batches(visible, manifest.height_px, manifest.width_px, SPEED_BATCH)
        calls = {
            "int8": lambda: int8.embed(image_BHWC, "visible"),
            "fp32": lambda: fp32.embed(image_BHWC, "visible"),
        }
        rows = {
            timing.name: timing.least_s for timing in time_in_turns(calls, len(image_BHWC), clock=time.perf_counter)
        }
    return rows["fp32"] / rows["int8"]


def trade_table(trades: Sequence[Trade], layers: int) -> str:
    """Write the trade as lines for a person: layers kept, mAP, cosine, speed."""
    lines = [f"{'kept out of INT8':>18} {'mAP':>8} {'worst cosine':>13} {'rank-1 agrees':>14} {'x FP32':>7}"]
    for trade in trades:
        score = "" if trade.map_difference is None else f"{trade.map_difference:+.2f}"
        lines.append(
            f"{f'{len(trade.kept)} of {layers}':>18} {score:>8} {trade.worst_cosine:13.4f} "
            f"{100 * trade.rank1_agreement:12.1f} % {trade.times_fp32:7.2f}"
        )
    return "\n".join(lines)
