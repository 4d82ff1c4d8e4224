"""People seen before: tracklets with their identity, and cosine search over them.

| store | where | when |
|---|---|---|
| memory | `memory` | as long as the run |
| SQLite and exact search in memory | a file | the default of an installation; up to about 50,000 rows |
| Qdrant Edge in this process | `qdrant:FOLDER` | above that |
| a Qdrant server | `qdrant+http://host:6333/collection` | several devices share one gallery |
"""

from calib.prototypes import MOST_PROTOTYPES, choose_prototypes
from deploy.gallery.memory import MemoryGallery
from deploy.gallery.opening import open_gallery
from deploy.gallery.protocol import Gallery, GalleryError, Hit, Person, Tracklet

__all__ = [
    "MOST_PROTOTYPES",
    "Gallery",
    "GalleryError",
    "Hit",
    "MemoryGallery",
    "Person",
    "Tracklet",
    "choose_prototypes",
    "open_gallery",
]
