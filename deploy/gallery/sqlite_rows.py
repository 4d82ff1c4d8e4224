"""Rows of a gallery's file, checked: SQLite keeps any type in any column, and other programs can write there."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from deploy.gallery.ledger import Entry
from engines.manifest import MODALITIES

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = "number, identity, camera, track, modality, first_s, last_s, rows, checksum, embeddings"
LARGEST_DIM = 65536


def entry_of(row: Sequence[Any]) -> tuple[int, bytes, Entry] | None:
    """Return checksum, embeddings and entry of a tracklet's COLUMNS, or None where a value is of another kind."""
    number, identity, camera, track, modality, first_s, last_s, rows, checksum, blob = row
    whole = all(isinstance(value, int) for value in (number, identity, track, rows, checksum))
    times = all(isinstance(value, float) and math.isfinite(value) for value in (first_s, last_s))
    if not (whole and times and isinstance(camera, str) and modality in MODALITIES and isinstance(blob, bytes)):
        return None
    entry = Entry(
        number=number,
        identity=identity,
        camera=camera,
        track=track,
        modality=modality,
        first_s=first_s,
        last_s=last_s,
        rows=rows,
    )
    return (checksum, blob, entry) if rows > 0 and identity >= 0 else None


def is_label(row: Sequence[Any]) -> bool:
    """Say whether a person's row is identity and name."""
    return isinstance(row[0], int) and isinstance(row[1], str)


def is_face(row: Sequence[Any]) -> bool:
    """Say whether a face's row is identity, modality and quality."""
    return isinstance(row[0], int) and row[1] in MODALITIES and isinstance(row[2], float)


def whole_number(text: str | None) -> int | None:
    """Return a fact that is a whole number of 0 or more, 0 where it is absent; None: it is something else."""
    if text is None:
        return 0
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
