"""What a person looks like: the best crop of every track while it lives, and of every person for good.

The loop offers the crops that it embeds. Of a live track only the best one is kept, as pixels; when the track ends and
its identity is final, it goes to the gallery, which keeps the better of two. So no picture of a track that was revised
stays with the wrong person. Everything here runs on the loop's thread.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, Protocol

import cv2
import numpy as np

from deploy.web.tiles import encode_jpeg

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deploy.sightings import TrackKey
    from engines.manifest import Modality

    Pixels = NDArray[np.uint8]

HEIGHT_PX = 256  # twice what the page shows, for screens with fine pixels
NARROWEST_PX = 32
JPEG_QUALITY = 85
BETTER_BY = 0.05  # of the quality, 0 to 1: a live picture that changes with every crop is no use to anybody
MOST_KNOWN = 4096


class FaceStore(Protocol):
    """The part of the gallery that keeps faces."""

    def keep_face(self, identity: int, modality: Modality, jpeg: bytes, quality: float) -> None: ...

    def face(self, identity: int, modality: Modality) -> bytes | None: ...


class LiveFace(NamedTuple):
    modality: Modality
    quality: float
    image_HWC: Pixels


@dataclass(eq=False)
class Faces:
    """One face per identity and modality."""

    store: FaceStore
    _live: dict[TrackKey, LiveFace] = field(default_factory=dict["TrackKey", LiveFace])
    _held: dict[TrackKey, int | None] = field(default_factory=dict["TrackKey", "int | None"])
    _versions: OrderedDict[tuple[int, Modality], str | None] = field(
        default_factory=OrderedDict["tuple[int, Modality]", "str | None"]
    )

    def offer(self, key: TrackKey, modality: Modality, image_HWC: Pixels, quality: float) -> None:
        """Take a crop of a live track; it is looked at only where it is better than what there is."""
        best = self._live.get(key)
        if best is None or quality > best.quality + BETTER_BY:
            self._live[key] = LiveFace(modality, quality, thumbnail(image_HWC))

    def hold(self, key: TrackKey, identity: int | None) -> None:
        """Note who a live track is held to be now."""
        self._held[key] = identity

    def end(self, key: TrackKey, identity: int | None) -> None:
        """Give an ended track's best crop to its person; without an identity it is forgotten."""
        best = self._live.pop(key, None)
        self._held.pop(key, None)
        if best is not None and identity is not None:
            self.keep(identity, best.modality, best.image_HWC, best.quality)

    def keep_live(self, key: TrackKey, identity: int) -> None:
        """Give the best crop so far of a live track to a person."""
        best = self._live.get(key)
        if best is not None:
            self.keep(identity, best.modality, best.image_HWC, best.quality)

    def keep(self, identity: int, modality: Modality, image_HWC: Pixels, quality: float) -> None:
        """Give a crop to the gallery, whose choice it is."""
        self.store.keep_face(identity, modality, encode_jpeg(thumbnail(image_HWC), JPEG_QUALITY), quality)
        self._versions.pop((identity, modality), None)

    def face(self, identity: int, modality: Modality) -> bytes | None:
        """Return a JPEG: the gallery's, else that of the best live track which is held to be this person."""
        return self.store.face(identity, modality) or self._live_face(identity, modality)

    def version(self, identity: int, modality: Modality) -> str | None:
        """Return eight digits that change with the face, or None where there is none; the gallery is read once."""
        place = (identity, modality)
        if place not in self._versions:
            self._versions[place] = digits(self.store.face(identity, modality))
            if len(self._versions) > MOST_KNOWN:
                self._versions.popitem(last=False)
        return self._versions[place] or digits(self._live_face(identity, modality))

    def change(self, *identities: int) -> None:
        """Forget what was read of these people: they were merged or erased."""
        for place in [place for place in self._versions if place[0] in identities]:
            del self._versions[place]

    def forget_live(self, identity: int) -> None:
        """Drop the pictures of live tracks that are held to be this person."""
        for key in [key for key, held in self._held.items() if held == identity]:
            self._live.pop(key, None)

    def _live_face(self, identity: int, modality: Modality) -> bytes | None:
        live = [
            (face.quality, key, face)
            for key, face in self._live.items()
            if face.modality == modality and self._held.get(key) == identity
        ]
        if not live:
            return None
        # Of two equally good ones the first track's, so that a run can be repeated.
        _, _, best = min(live, key=lambda item: (-item[0], item[1]))
        return encode_jpeg(best.image_HWC, JPEG_QUALITY)


def digits(jpeg: bytes | None) -> str | None:
    """Return eight digits that tell one picture from another."""
    return None if jpeg is None else hashlib.sha256(jpeg).hexdigest()[:8]


def thumbnail(image_HWC: Pixels, height_px: int = HEIGHT_PX) -> Pixels:
    """Return a copy that is height_px high at most and never a sliver; a smaller picture is not blown up."""
    height, width = image_HWC.shape[:2]
    scale = min(1.0, height_px / height)
    if scale == 1:
        return image_HWC.copy()
    size = (max(NARROWEST_PX, round(width * scale)), height_px)
    return np.asarray(cv2.resize(image_HWC, size, interpolation=cv2.INTER_AREA), np.uint8)
