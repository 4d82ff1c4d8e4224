"""What every gallery keeps and offers.

Times are absolute seconds: a gallery outlives the run. All embeddings of a gallery come from one model.

Shapes: D embedding, P prototypes, R rows of a tracklet (its mean, then its prototypes), Q queries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from engines.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from engines.manifest import Modality

    Float = NDArray[np.float32]

MOST_ROWS = 16  # of a tracklet: Qdrant's points are numbered by tracklet and row
ENROLLED = "enrolled"  # stands for the camera of pictures that an operator gave, as in deploy.web.desk
LONGEST = 1.1  # of a row; an embedding has length 1, and a longer row would win every search


class GalleryError(Exception):
    """A gallery that was opened cannot do this now (disk full, server gone); the message is one line.

    What it was asked for did not happen; what it holds is as before and can still be searched. The caller may ask
    again later with the same tracklet.
    """


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracklet:
    """One finished track with an identity: its mean embedding and its most different crops, unit vectors."""

    identity: int
    camera: str
    track: int
    modality: Modality
    first_s: float
    last_s: float
    mean_D: Float
    prototype_PD: Float

    @property
    def row_RD(self) -> Float:
        return np.concatenate([self.mean_D[None], self.prototype_PD]) if len(self.prototype_PD) else self.mean_D[None]


class Hit(NamedTuple):
    identity: int
    similarity: float


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with at least one tracklet. `enrolled`: an operator gave the label, so expiry leaves the person."""

    identity: int
    label: str
    enrolled: bool
    first_s: float
    last_s: float
    cameras: tuple[str, ...]
    modalities: tuple[Modality, ...]
    tracklets: int


class Gallery(Protocol):
    """People met before. Used by one thread; closing it keeps what it holds, but for one in memory.

    Everything that changes a gallery raises GalleryError where that fails, and then nothing has changed.
    """

    @property
    def model(self) -> str:
        """Whose embeddings these are (`engines.model_id`)."""
        ...

    @property
    def dim(self) -> int | None:
        """D, or None where nothing was enrolled yet and nobody said."""
        ...

    @property
    def last_identity(self) -> int:
        """The highest number that may have been given to anybody, erased people included."""
        ...

    def new_identity(self) -> int:
        """Return the next number, from 1; none is ever given twice, also not after a crash."""
        ...

    def skip(self, last_identity: int) -> None:
        """Never give a number up to this one: they are in use elsewhere."""
        ...

    def enrol(self, tracklet: Tracklet) -> None:
        """Keep a tracklet; it is on the disk when this returns.

        Above 50 of a person and modality the oldest goes that no operator gave (`deploy.gallery.retention`). Its bytes
        leave an SQLite file at the next flush(), and Qdrant Edge at the next expire() or erase().
        """
        ...

    def search(
        self, query_QD: Float, modality: Modality, limit: int, *, cameras: Collection[str] | None = None
    ) -> list[list[Hit]]:
        """Return per query the identities most similar to it among tracklets of modality, best first.

        An identity's similarity is that of its most similar row, to five decimals; a tie goes to the older identity.
        """
        ...

    def tracklets(self, identity: int) -> list[Tracklet]:
        """Return them by time."""
        ...

    def people(self) -> list[Person]:
        """Return everybody with a tracklet, by number."""
        ...

    def count_people(self) -> int: ...

    def merge(self, kept: int, absorbed: int) -> None:
        """Give everything of one identity to another; the kept one's label and the better faces stay."""
        ...

    def rename(self, identity: int, label: str) -> None:
        """Label a person, who is enrolled by that; an empty label takes it back."""
        ...

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None:
        """Keep a picture of a person where none of at least this quality is kept."""
        ...

    def face(self, identity: int, modality: Modality) -> bytes | None: ...

    def face_quality(self, identity: int, modality: Modality) -> float | None:
        """Return the quality of the kept picture, or None where there is none."""
        ...

    def expire(self, before_s: float) -> int:
        """Erase what ended before this time, from the disk too; return how many people went with all they had.

        Who is enrolled stays, with the pictures that an operator gave, and with the newest tracklet of a modality where
        nothing else of it is left. Of the others who were seen since, the older tracklets go.
        """
        ...

    def erase(self, identity: int) -> int:
        """Erase a person with label and faces, from the disk too; return how many tracklets that were."""
        ...

    def __len__(self) -> int:
        """Return the number of tracklets."""
        ...

    def flush(self) -> None:
        """Make sure of what is written; every few seconds."""
        ...

    def tidy(self) -> None:
        """Compact and optimise; when nobody is in the pictures, for with many people it takes long."""
        ...

    def check(self) -> list[str]:
        """Return what is wrong with what is stored, a line each; it reads everything."""
        ...

    def close(self) -> None: ...


def checked(tracklet: Tracklet, dim: int | None) -> Float:
    """Return the rows of a tracklet that can be kept, or raise BadInput."""
    row_RD = np.asarray(tracklet.row_RD, np.float32)
    rows, length = row_RD.shape
    if dim is not None and length != dim:
        raise BadInput(f"gallery: expected embeddings of {dim} values, got {length}; they are from another model")
    if tracklet.identity < 1 or rows > MOST_ROWS or not tracklet.first_s <= tracklet.last_s:
        raise BadInput(
            f"gallery: expected an identity from 1, at most {MOST_ROWS - 1} prototypes and first_s <= last_s, got "
            f"identity {tracklet.identity}, {rows - 1} prototypes, {tracklet.first_s} and {tracklet.last_s}"
        )
    # Not finite compares False too: one NaN would spoil every search.
    if not (np.linalg.norm(row_RD, axis=1) <= LONGEST).all():
        raise BadInput("gallery: expected finite unit vectors, got others; the engine gives embeddings that are none")
    return row_RD


def checked_query(query_QD: Float, dim: int | None) -> Float:
    """Return queries that can be compared with rows of dim values, or raise BadInput."""
    if query_QD.ndim != 2 or (dim is not None and query_QD.shape[1] != dim) or not np.isfinite(query_QD).all():
        raise BadInput(
            f"gallery: expected finite queries of shape (Q, {dim or 'D'}), got {query_QD.shape}"
            f"{'' if np.isfinite(query_QD).all() else ' with NaN or infinity'}"
        )
    return np.asarray(query_QD, np.float32)


def wrong_model(where: object, stored: tuple[str, int], asked: tuple[str, int]) -> BadInput:
    """Return the refusal of a gallery whose embeddings an engine cannot compare with its own."""
    return BadInput(
        f"gallery {where}: expected embeddings of model {asked[0]} ({asked[1]} values), got a gallery of model "
        f"{stored[0]} ({stored[1]} values); run the engine that it was made with, or name another gallery"
    )
