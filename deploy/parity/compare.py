"""Every engine of a folder that this machine can run, against the PyTorch reference, on the same image files.

Shapes: N images, B batch, H height, W width, C channel, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from calib.samples import pixel_batches
from deploy.parity.figures import difference, search, top_overlap
from engines.errors import BadInput, first_line
from engines.loaded import MAX_BATCH
from engines.manifest import MODALITIES, PRECISIONS, load_manifest, verified_path
from engines.open import BACKENDS, RUNTIMES, open_engine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.parity.figures import Difference, Search
    from deploy.parity.reference import Reference
    from engines.backend import Backend
    from engines.manifest import Form, Manifest, Modality, Precision
    from train.datasets.images import ImageRecord

BATCH = 8  # of images of one modality, compared with the same images one by one


@dataclass(frozen=True, kw_only=True)
class EngineFigures:
    """One runtime in one precision."""

    engine: str  # such as "openvino int8"
    backend: str
    precision: Precision
    difference: Difference  # against the reference
    top5_overlap: float
    search: Search | None
    batch_cosine: float  # worst, between an image in a batch of 8 and the same alone
    feature_ND: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Absent:
    """What was not measured, and why."""

    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """All engines of a folder: measured, not runnable here, or broken."""

    engines: tuple[EngineFigures, ...]
    skipped: tuple[Absent, ...]
    broken: tuple[Absent, ...]


def compare(
    folder: Path, reference: Reference, *, backend: str = "auto", precisions: Sequence[Precision] = PRECISIONS
) -> Comparison:
    """Run every backend and precision that the folder offers; a named backend must run.

    A damaged file is refused. A plan for another device or a runtime that is not installed is skipped, with the reason.
    """
    manifest = load_manifest(folder)
    if backend not in BACKENDS:
        raise BadInput(f"expected a backend out of {', '.join(BACKENDS)}, got {backend!r}")
    for file in {graph.file: graph for graph in manifest.graphs}.values():
        verified_path(folder, file)
    engines: list[EngineFigures] = []
    skipped: list[Absent] = []
    broken: list[Absent] = []
    for name, precision in offered(manifest, backend, precisions):
        reason = _cannot_run(name)
        if reason is not None:
            skipped.append(Absent(name=f"{name} {precision}", reason=reason))
            continue
        try:
            engines.append(_measure(folder, reference, name, precision))
        except _Unfit as error:
            skipped.append(Absent(name=f"{name} {precision}", reason=str(error)))
        except Exception as error:  # each runtime has its own types; one that fails must not hide the others
            broken.append(Absent(name=f"{name} {precision}", reason=first_line(error)))
    if not engines and (backend != "auto" or not broken):
        absent = "; ".join(f"{item.name}: {item.reason}" for item in (*broken, *skipped))
        raise BadInput(
            f"{folder}: expected an engine for {backend} in {' or '.join(precisions)}, got none "
            f"({absent or 'it has no such graphs'})"
        )
    return Comparison(engines=tuple(engines), skipped=tuple(skipped), broken=tuple(broken))


def offered(manifest: Manifest, backend: str, precisions: Iterable[Precision]) -> list[tuple[str, Precision]]:
    """List the runtimes and precisions for which the folder has graphs; comparisons such as PyTorch must be named."""
    names = [name for name, runtime in RUNTIMES.items() if runtime.automatic] if backend == "auto" else [backend]
    wanted = set(precisions)
    return [
        (name, precision)
        for precision in PRECISIONS
        for name in names
        if precision in wanted and form_read(manifest, name, precision) is not None
    ]


def form_read(manifest: Manifest, backend: str, precision: Precision) -> Form | None:
    """Return which of the folder's forms a runtime reads in a precision; a plan's device is not asked for."""
    for form in RUNTIMES[backend].reads.get(precision, ()):
        if all(manifest.find(modality, precision, form) is not None for modality in MODALITIES):
            return form
    return None


def embed_with(engine: Backend, records: Sequence[ImageRecord]) -> NDArray[np.float32]:
    """Decode, resize and embed images with an open engine, in the order of records (N, D)."""
    manifest = engine.manifest
    feature_ND = np.empty((len(records), manifest.embedding_dim), np.float32)
    for modality, index, image_BHWC in modality_batches(records, manifest, MAX_BATCH):
        feature_ND[index] = engine.embed(image_BHWC, modality)
    return feature_ND


def modality_batches(
    records: Sequence[ImageRecord], manifest: Manifest, batch: int
) -> Iterator[tuple[Modality, list[int], NDArray[np.uint8]]]:
    """Yield each modality's images (B, H, W, 3) as the cameras resize them, with their places among the records."""
    for modality in MODALITIES:
        places = [place for place, record in enumerate(records) if record.modality == modality]
        chunks = [places[start : start + batch] for start in range(0, len(places), batch)]
        images = pixel_batches([records[place] for place in places], manifest.height_px, manifest.width_px, batch)
        for chunk, image_BHWC in zip(chunks, images, strict=True):
            yield modality, chunk, image_BHWC


def batch_cosine(engine: Backend, records: Sequence[ImageRecord]) -> float:
    """Embed a few images of each modality together and one by one; return the worst cosine of the two."""
    worst = 1.0
    chosen = [record for kind in MODALITIES for record in [item for item in records if item.modality == kind][:BATCH]]
    for modality, _, image_BHWC in modality_batches(chosen, engine.manifest, BATCH):
        together_BD = engine.embed(image_BHWC, modality).astype(np.float64)
        alone_BD = np.concatenate([engine.embed(image_HWC[None], modality) for image_HWC in image_BHWC])
        length_B = np.linalg.norm(together_BD, axis=1) * np.linalg.norm(alone_BD, axis=1)
        worst = min(worst, float(((together_BD * alone_BD).sum(1) / length_B).min()))
    return worst


def not_finite(reference: Reference, feature_ND: NDArray[np.float32]) -> str | None:
    """Say which embeddings hold NaN or infinity; None where none does."""
    bad_N = np.flatnonzero(~np.isfinite(feature_ND).all(1))
    if not len(bad_N):
        return None
    return (
        f"expected finite embeddings, got NaN or infinity in {len(bad_N)} of {len(feature_ND)}, such as "
        f"{reference.name(int(bad_N[0]))}"
    )


class _Unfit(Exception):
    """A plan that another device or library version would run."""


def _cannot_run(name: str) -> str | None:
    missing = RUNTIMES[name].missing()
    return f"needs {' and '.join(missing)}, not installed" if missing else None


def _measure(folder: Path, reference: Reference, name: str, precision: Precision) -> EngineFigures:
    try:
        opened = open_engine(folder, backend=name, precision=precision)
    except BadInput as error:
        if RUNTIMES[name].flavour is not None:  # its bytes were checked: it is whole, and not for this device
            raise _Unfit(str(error)) from error
        raise
    with opened as engine:
        feature_ND = embed_with(engine, reference.records)
        reason = not_finite(reference, feature_ND)
        if reason is not None:
            raise BadInput(reason)
        return EngineFigures(
            engine=f"{name} {precision}",
            backend=name,
            precision=precision,
            difference=difference(reference, reference.feature_ND, feature_ND),
            top5_overlap=top_overlap(reference, feature_ND),
            search=search(reference, feature_ND),
            batch_cosine=batch_cosine(engine, reference.records),
            feature_ND=feature_ND,
        )
