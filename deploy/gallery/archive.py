"""A gallery as one file, to keep or to bring into another gallery of the same model, whatever its store.

The file is a NumPy .npz (a zip, read without pickle) of three arrays: `header`, JSON as bytes: format, model, dim,
last_identity, people (identity, label), tracklets (identity, camera, track, modality, first_s, last_s, rows) and faces
(identity, modality, quality, bytes); `rows` (N, D), those of one tracklet behind those of the other, its mean first;
`faces`, the JPEG files one behind the other. It holds what identifies people: keep it as you keep the gallery.

Shapes: N rows, D embedding.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deploy.gallery.protocol import GalleryError, Tracklet, wrong_model
from engines.atomic import atomic_path
from engines.errors import BadInput, first_line
from engines.manifest import MODALITIES
from engines.npz_file import read_arrays
from engines.strict_json import parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from deploy.gallery.protocol import Gallery
    from engines.manifest import Modality

    Float = NDArray[np.float32]

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Face:
    identity: int
    modality: Modality
    quality: float
    jpeg: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive:
    """What a file holds."""

    model: str
    dim: int
    last_identity: int
    labels: dict[int, str]  # of everybody; "" for no label
    tracklets: list[Tracklet]
    faces: list[Face]


def export_gallery(gallery: Gallery, path: Path) -> int:
    """Write everybody into a file and return how many that are."""
    people = gallery.people()
    tracklets = [tracklet for person in people for tracklet in gallery.tracklets(person.identity)]
    faces = [
        Face(
            identity=person.identity,
            modality=modality,
            quality=gallery.face_quality(person.identity, modality) or 0.0,
            jpeg=jpeg,
        )
        for person in people
        for modality in MODALITIES
        if (jpeg := gallery.face(person.identity, modality)) is not None
    ]
    header = {
        "format": FORMAT,
        "model": gallery.model,
        "dim": gallery.dim,
        "last_identity": gallery.last_identity,
        "people": [[person.identity, person.label] for person in people],
        "tracklets": [
            [t.identity, t.camera, t.track, t.modality, t.first_s, t.last_s, len(t.row_RD)] for t in tracklets
        ],
        "faces": [[face.identity, face.modality, face.quality, len(face.jpeg)] for face in faces],
    }
    rows = [tracklet.row_RD for tracklet in tracklets]
    row_ND = np.concatenate(rows) if rows else np.empty((0, gallery.dim or 0), np.float32)
    half_ND = row_ND.astype(np.float16)
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        # Galleries on a disk keep halves: then nothing is lost by them here.
        "rows": half_ND if np.array_equal(half_ND, row_ND) else row_ND,
        "faces": np.frombuffer(b"".join(face.jpeg for face in faces), np.uint8),
    }
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        path.chmod(0o600)
    except OSError as error:
        raise BadInput(f"{path}: expected a file that can be written, got {error.strerror}; name another") from error
    return len(people)


def import_gallery(gallery: Gallery, path: Path) -> dict[int, int]:
    """Bring everybody of a file into a gallery and return their numbers there by their numbers in the file.

    An empty gallery keeps the numbers; in another one everybody gets a new number, for nobody can say who is who.
    Everybody comes or, with GalleryError, nobody.
    """
    archive = read_archive(path)
    if (gallery.model, gallery.dim or archive.dim) != (archive.model, archive.dim):
        raise wrong_model(path, (archive.model, archive.dim), (gallery.model, gallery.dim or archive.dim))
    empty = len(gallery) == 0 and gallery.last_identity == 0
    numbers: dict[int, int] = {}
    try:
        if empty:
            gallery.skip(archive.last_identity)
        for identity in sorted(archive.labels):
            numbers[identity] = identity if empty else gallery.new_identity()
        for tracklet in archive.tracklets:
            gallery.enrol(replace(tracklet, identity=numbers[tracklet.identity]))
        for identity, label in archive.labels.items():
            if label:
                gallery.rename(numbers[identity], label)
        for face in archive.faces:
            gallery.keep_face(numbers[face.identity], face.modality, face.jpeg, face.quality)
    except GalleryError:
        for number in numbers.values():
            gallery.erase(number)
        raise
    return numbers


def read_archive(path: Path) -> Archive:
    """Read an exported file; a damaged one is refused as a whole."""
    try:
        arrays = read_arrays(path)
        header = cast("dict[str, Any]", parse_json(bytes(arrays["header"])))
        if arrays["rows"].dtype.kind != "f" or arrays["faces"].dtype != np.uint8:
            raise ValueError("its parts do not fit together")
        row_ND, faces = np.asarray(arrays["rows"], np.float32), bytes(arrays["faces"])
        if header["format"] != FORMAT:
            raise BadInput(f"{path}: expected format {FORMAT}, got {header['format']}; export it with this version")
        labels = {int(identity): str(label) for identity, label in header["people"]}
        archive = Archive(
            model=str(header["model"]),
            dim=int(header["dim"] or 0),
            last_identity=int(header["last_identity"]),
            labels=labels,
            tracklets=_tracklets(header["tracklets"], row_ND),
            faces=_faces(header["faces"], faces),
        )
        if row_ND.shape != (len(row_ND), archive.dim) or not {t.identity for t in archive.tracklets} <= set(labels):
            raise ValueError("its parts do not fit together")
    except BadInput:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"{path}: expected a whole file of manage_gallery.py export, got another ({first_line(error)})"
        ) from error
    return archive


def _tracklets(listed: list[list[Any]], row_ND: Float) -> list[Tracklet]:
    found: list[Tracklet] = []
    start = 0
    for identity, camera, track, modality, first_s, last_s, rows in listed:
        if modality not in MODALITIES or rows < 1 or start + rows > len(row_ND):
            raise ValueError("a tracklet without its embeddings")
        tracklet = Tracklet(
            identity=int(identity),
            camera=str(camera),
            track=int(track),
            modality=modality,
            first_s=float(first_s),
            last_s=float(last_s),
            mean_D=row_ND[start],
            prototype_PD=row_ND[start + 1 : start + rows],
        )
        found.append(tracklet)
        start += int(rows)
    return found


def _faces(listed: list[list[Any]], content: bytes) -> list[Face]:
    found: list[Face] = []
    start = 0
    for identity, modality, quality, size in listed:
        if modality not in MODALITIES or not 0 <= size <= len(content) - start:
            raise ValueError("its parts do not fit together")
        jpeg = content[start : start + size]
        found.append(Face(identity=int(identity), modality=modality, quality=float(quality), jpeg=jpeg))
        start += int(size)
    return found
