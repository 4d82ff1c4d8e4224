"""What every source of pictures promises, and how one fails.

Shapes: H height, W width, C channel (3, RGB).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deploy.cameras.redact import redact
from engines.errors import BadInput

if TYPE_CHECKING:
    from deploy.settings.site_plan import CameraSite

Pixels: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16]"  # RGB (H, W, C), or 16-bit thermal (H, W)

FailureKind = Literal[
    "not-found",
    "permission",
    "busy",
    "metadata-node",
    "bandwidth",
    "credentials",
    "refused",
    "timeout",
    "codec",
    "tls",
    "unsupported",
    "ended",
    "connection",
]
# Trying again helps only after somebody changed the configuration or the file. Everything else may pass: a cable, a
# camera that starts, a publisher that is not there yet, a node whose group udev has not set yet.
PERMANENT: frozenset[FailureKind] = frozenset({"credentials", "metadata-node", "unsupported", "tls", "ended"})


class SourceError(BadInput):
    """A source cannot be opened or has failed. The message holds no credentials."""

    def __init__(self, message: str, *, kind: FailureKind, permanent: bool | None = None) -> None:
        super().__init__(redact(message))
        self.kind: FailureKind = kind
        self.permanent = kind in PERMANENT if permanent is None else permanent


class Source(Protocol):
    """Pictures one after another, for one thread. `fps` and `live` are right once it is open.

    One thread opens, grabs, retrieves and closes: releasing a capture while another thread reads it is a segmentation
    fault (3 of 3 runs with OpenCV 5.0). A closed source may be opened again.
    """

    @property
    def live(self) -> bool:
        """True where pictures pass whether or not somebody takes them."""
        ...

    @property
    def fps(self) -> float: ...

    def open(self) -> None:
        """Raise SourceError with the reason where it cannot be opened."""
        ...

    def grab(self) -> bool:
        """Wait for the next picture; False: there is none any more (live: it was lost).

        Raise SourceError where the reason is known: a live stream that is silent ("timeout"), a recording played as
        if live that is over ("ended").
        """
        ...

    def retrieve(self) -> Pixels | None:
        """Return the grabbed picture; None: it could not be decoded."""
        ...

    def close(self) -> None: ...


def failure(site: CameraSite, reason: str, kind: FailureKind, *, permanent: bool | None = None) -> SourceError:
    """Return the error that names the camera and what it was told to open."""
    return SourceError(f"camera {site.name!r} {site.uri}: {reason}", kind=kind, permanent=permanent)
