"""OpenVINO's core, one for the process.

Two cores that are freed in the order in which they were made leave a dangling signal stack behind (OpenVINO 2026.4),
and the next Ctrl-C or SIGTERM ends the process with a segmentation fault. One that stays does not.
"""

from __future__ import annotations

import functools
from typing import Any

from engines.silent_runtimes import import_openvino


@functools.cache
def openvino_core() -> Any:
    """Return the core; its properties are left at their defaults, a model brings its own."""
    return import_openvino().Core()
