"""Where pictures come from: one file per kind of source, one URI per camera."""

from deploy.sources.source import FailureKind, Pixels, Source, SourceError
from deploy.sources.uri import make_source

__all__ = ["FailureKind", "Pixels", "Source", "SourceError", "make_source"]
