"""Where the shared test material lies: $CROSSLIGHT_SHARED, or a folder `shared` beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def shared_folder(name: str) -> Path:
    """Return a file or folder of the shared material, or skip the test and say what is missing."""
    base = Path(os.environ.get("CROSSLIGHT_SHARED", ROOT.parent / "shared"))
    path = base / name
    if not path.exists():
        pytest.skip(f"needs shared/{name}; set CROSSLIGHT_SHARED to the folder that holds it")
    return path
